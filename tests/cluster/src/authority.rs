//! The cluster's certificate authority, what it signs, and kubeconfigs made from that.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Signs who may be whom, and keeps it in one folder.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate with its key, as files.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new one, whose files go to `folder`.
    pub(crate) fn new(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test cluster CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("making the CA")?;
        let authority = Self { issuer, folder };
        private(&authority.certificate(), &authority.issuer.pem())?;
        Ok(authority)
    }

    /// The file of its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A server that answers under these names and addresses.
    pub(crate) fn server(&self, name: &str, subjects: &[&str]) -> anyhow::Result<Identity> {
        let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
        let mut params = CertificateParams::new(subjects)?;
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(&format!("{name}-server"), params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client that Kubernetes takes for this user, of this group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, user);
        self.sign(&user.replace(':', "-"), params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<Identity> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        private(&identity.certificate, &certificate.pem())?;
        private(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// A pair of keys for the tokens of service accounts: the file of the private one, and of the public one.
    pub(crate) fn token_keys(&self) -> anyhow::Result<[PathBuf; 2]> {
        let files = ["service-accounts.key", "service-accounts.pub"].map(|name| self.folder.join(name));
        let pair = KeyPair::generate()?;
        private(&files[0], &pair.serialize_pem())?;
        private(&files[1], &pair.public_key_pem())?;
        Ok(files)
    }

    /// A kubeconfig for a user at the API server `server`.
    pub(crate) fn kubeconfig(
        &self,
        file: &Path,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> anyhow::Result<()> {
        let identity = self.client(user, group)?;
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": self.certificate()}}],
            "users": [{"name": user, "user": {"client-certificate": identity.certificate, "client-key": identity.key}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        });
        private(file, &format!("{config:#}\n"))
    }
}

/// Writes a file that only its owner can read.
fn private(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut open = fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}
