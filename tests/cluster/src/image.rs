//! Container images from folders of this machine, without a registry: an OCI archive, which containerd imports.

use anyhow::{Context as _, ensure};
use piece::Fault;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The media type of a layer that is not compressed: it never leaves the machine.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// One layer, as a tar file.
#[derive(Debug, Clone)]
pub struct Layer {
    file: PathBuf,
    digest: String,
    size: u64,
}

impl Layer {
    /// Packs all that is in `folder` into the tar file `file`. The same content gives the same bytes.
    ///
    /// # Errors
    /// tar fails.
    pub fn pack(folder: &Path, file: &Path) -> anyhow::Result<Self> {
        let status = Command::new("tar")
            .args(["--sort=name", "--numeric-owner", "--mtime=@0", "--format=pax", "--xattrs"])
            .arg("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
            .arg("--create")
            .arg("--file")
            .arg(file)
            .arg("--directory")
            .arg(folder)
            .arg(".")
            .status()
            .context("tar")?;
        ensure!(status.success(), "packing {} into {} failed", folder.display(), file.display());
        Self::read(file)
    }

    /// A layer that was packed before. `FILE.sha256` beside it, if there is one, has its digest.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let mut known = file.as_os_str().to_owned();
        known.push(".sha256");
        if let Ok(digest) = fs::read_to_string(&known) {
            let size = file.metadata().with_context(|| format!("reading {}", file.display()))?.len();
            return Ok(Self { file: file.to_owned(), digest: digest.trim().to_owned(), size });
        }
        let mut hasher = Sha256::new();
        let opened = File::open(file).with_context(|| format!("reading {}", file.display()))?;
        let size = io::copy(&mut BufReader::with_capacity(1 << 20, opened), &mut hasher)?;
        Ok(Self { file: file.to_owned(), digest: hex(&hasher.finalize()), size })
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": LAYER, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

/// An image: layers, the lowest first, and how it is started.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name with a tag, as a pod refers to it.
    pub name: String,
    /// What it is made of.
    pub layers: Vec<Layer>,
    /// `config` of the image specification: `User`, `Env`, `Entrypoint`, `Cmd`, `WorkingDir`.
    pub config: Value,
}

impl Image {
    /// Writes it as an OCI image layout into a folder that is not there yet. Layers are symbolic links: a hard link would change the
    /// layer's file, under the eyes of who packs it at the same time.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;
        for layer in &self.layers {
            let blob = blobs.join(&layer.digest);
            if !blob.exists() {
                let file = layer.file.canonicalize().with_context(|| layer.file.display().to_string())?;
                std::os::unix::fs::symlink(file, &blob)
                    .with_context(|| format!("linking {}", blob.display()))?;
            }
        }
        let identities: Vec<String> =
            self.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": identities},
        });
        let config = blob(&blobs, CONFIG, &config)?;
        let layers: Vec<Value> = self.layers.iter().map(Layer::descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut manifest = blob(&blobs, MANIFEST, &manifest)?;
        manifest["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(folder.join("index.json"), index.to_string())?;
        fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
        Ok(())
    }
}

/// Writes a document to where its digest says, and describes it.
fn blob(folder: &Path, kind: &str, document: &Value) -> anyhow::Result<Value> {
    let text = document.to_string();
    let digest = hex(&Sha256::digest(&text));
    fs::write(folder.join(&digest), &text)?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": text.len()}))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image with nothing but busybox, under the names of all its commands.
///
/// # Errors
/// There is no static busybox on the `PATH`, or `folder` cannot be written.
pub fn busybox(name: &str, folder: &Path, config: Value) -> anyhow::Result<Image> {
    let root = folder.join("busybox");
    for directory in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let program = program("busybox")?;
    fs::copy(&program, root.join("bin/busybox")).with_context(|| format!("copying {}", program.display()))?;
    let list = Command::new(&program).arg("--list").output().context("busybox --list")?;
    for command in String::from_utf8_lossy(&list.stdout).lines().filter(|&command| command != "busybox") {
        let link = root.join("bin").join(command);
        if !link.exists() {
            std::os::unix::fs::symlink("busybox", &link)?;
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nagent:x:1001:1001::/tmp:/bin/sh\n")?;
    let layer = Layer::pack(&root, &folder.join("busybox.tar"))?;
    Ok(Image { name: name.to_owned(), layers: vec![layer], config })
}

/// An image with nothing but one static program, which it starts.
///
/// # Errors
/// The program is not on the `PATH`, or `folder` cannot be written.
pub fn single_program(name: &str, program_name: &str, folder: &Path) -> anyhow::Result<Image> {
    let root = folder.join(program_name);
    fs::create_dir_all(&root)?;
    let program = program(program_name)?;
    fs::copy(&program, root.join(program_name)).with_context(|| format!("copying {}", program.display()))?;
    let layer = Layer::pack(&root, &folder.join(format!("{program_name}.tar")))?;
    let config = json!({"Entrypoint": [format!("/{program_name}")]});
    Ok(Image { name: name.to_owned(), layers: vec![layer], config })
}

/// The environment variable that names the folder of the runtime image's lower layers; `scripts/setup.sh cluster` sets it.
pub const LAYERS_VARIABLE: &str = "PRESSRUN_TEST_IMAGE_LAYERS";

/// The image that agents run in: Debian with git, jq, curl and Chromium, the agent CLIs, Playwright MCP and Hugo, and `programs`, files of this
/// machine, in `/usr/local/bin`. It runs as UID 1001.
///
/// # Errors
/// [`LAYERS_VARIABLE`] is not set, a program is missing, or `folder` cannot be written.
pub fn runtime(name: &str, programs: &[PathBuf], folder: &Path) -> anyhow::Result<Image> {
    let layers = std::env::var_os(LAYERS_VARIABLE).ok_or_else(|| {
        Fault::failed(format!("{LAYERS_VARIABLE} is not set")).hint("source \"$(scripts/setup.sh cluster)\"")
    })?;
    let layers = Path::new(&layers);
    let root = folder.join("runtime");
    let target = root.join("usr/local/bin");
    fs::create_dir_all(&target)?;
    for program in programs {
        let file = program.file_name().with_context(|| format!("{} is no file", program.display()))?;
        fs::copy(program, target.join(file)).with_context(|| format!("copying {}", program.display()))?;
    }
    Ok(Image {
        name: name.to_owned(),
        layers: vec![
            Layer::read(&layers.join("debian.tar"))?,
            Layer::read(&layers.join("tools.tar"))?,
            Layer::pack(&root, &folder.join("runtime.tar"))?,
        ],
        config: json!({
            "User": "1001:1001",
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/pwuser", "LANG=C.UTF-8"],
            "WorkingDir": "/home/pwuser",
            "Entrypoint": ["/usr/bin/tini", "--"],
            "Cmd": ["/bin/sh"],
        }),
    })
}

/// An installed program's file.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let fault = Fault::failed(format!("'{name}' is not on the PATH"));
        fault.hint("source \"$(scripts/setup.sh cluster)\"").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let digests = ["first", "second"].map(|name| {
            let root = folder.path().join(name);
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::write(root.join("bin/program"), "content").unwrap();
            let layer = Layer::pack(&root, &folder.path().join(format!("{name}.tar"))).unwrap();
            let image =
                Image { name: "a:1".to_owned(), layers: vec![layer], config: json!({"User": "1001"}) };
            image.write(&folder.path().join(format!("{name}.oci"))).unwrap();
            fs::read(folder.path().join(format!("{name}.oci/index.json"))).unwrap()
        });
        assert_eq!(digests[0], digests[1]);
        let index: Value = serde_json::from_slice(&digests[0]).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let manifest = fs::read(folder.path().join("first.oci/blobs/sha256").join(digest)).unwrap();
        assert_eq!(hex(&Sha256::digest(&manifest)), digest);
    }
}
