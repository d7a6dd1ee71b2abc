//! `secrets`: what the pods take variables and files from is there, with the keys that they take. Names of keys alone are looked
//! at and told.

use super::{Cluster, Runs, Seen};
use crate::check::Finding;
use crate::context::Context;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use piece::Fault;
use std::collections::{BTreeMap, BTreeSet};

/// What a pod takes keys from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    ConfigMap,
}

/// Its kind and name.
type Source = (Kind, String);

/// Either of these tells Discord.
const DISCORD: [&[&str]; 2] = [&["DISCORD_WEBHOOK_URL"], &["DISCORD_BOT_TOKEN", "DISCORD_CHANNEL_ID"]];

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let (cluster, settings) = super::with_settings(context)?;
    let runs = Runs::planned(context, cluster, settings)?;
    let discord = settings.notify.then(|| (Kind::Secret, settings.secrets.discord.clone()));
    let mut needs: BTreeMap<Source, BTreeSet<String>> = BTreeMap::new();
    for (source, key) in runs.pods().flat_map(needed).chain(discord.clone().map(|source| (source, None))) {
        needs.entry(source).or_default().extend(key);
    }
    let (mut good, mut unseen, mut wrong, mut remedies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (source, keys) in needs {
        let found = keys_of(cluster, &source)?;
        let tells = discord.as_ref() == Some(&source);
        let (kind, name) = source;
        let shown = format!("{kind:?} {name}");
        let there = match &found {
            Seen::Hidden => {
                unseen.push(format!("the {shown}"));
                continue;
            }
            Seen::There(there) => Some(there),
            Seen::Absent => None,
        };
        let lacks = lacking(&keys, tells, there.unwrap_or(&BTreeSet::new()));
        match there {
            Some(_) if lacks.is_empty() => good.push(format!("the {shown} has all of its keys")),
            Some(_) => wrong.push(format!("the {shown} has no {}", lacks.join(", no "))),
            None => wrong.push(format!("there is no {shown} in {}", cluster.namespace)),
        }
        if there.is_none() || !lacks.is_empty() {
            remedies.push(remedy(&cluster.namespace, kind, &name, there.is_some(), &lacks));
        }
    }
    if !wrong.is_empty() {
        return Err(Fault::denied(wrong.join("\n")).hint(remedies.join("\n")).into());
    }
    if !unseen.is_empty() {
        let right = format!("get secrets and configmaps in {}", cluster.namespace);
        return Ok(super::hidden(&unseen.join(", "), &right));
    }
    Ok(Finding::Good(good.join("\n")))
}

/// What a pod does not start without: the source, and the key of it.
fn needed(pod: &PodSpec) -> Vec<(Source, Option<String>)> {
    let mut all = Vec::new();
    let mut add = |kind, name: &str, key: Option<&str>| {
        all.push(((kind, name.to_owned()), key.map(str::to_owned)));
    };
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    for variable in containers.flat_map(|container| container.env.iter().flatten()) {
        let key = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        if let Some(key) = key.filter(|key| key.optional != Some(true)) {
            add(Kind::Secret, &key.name, Some(&key.key));
        }
    }
    for volume in pod.volumes.iter().flatten() {
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            secret.items.iter().flatten().for_each(|item| add(Kind::Secret, name, Some(&item.key)));
        }
        if let Some(map) = &volume.config_map {
            map.items.iter().flatten().for_each(|item| add(Kind::ConfigMap, &map.name, Some(&item.key)));
        }
    }
    for secret in pod.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &secret.name, None);
    }
    all
}

/// The keys that have a value.
fn keys_of(cluster: &Cluster, (kind, name): &Source) -> Result<Seen<BTreeSet<String>>, Fault> {
    Ok(match kind {
        Kind::Secret => {
            let found = cluster.object::<Secret>("Secret", name)?;
            found.map(|secret| with_value(secret.data, |value| !value.0.is_empty()))
        }
        Kind::ConfigMap => {
            let found = cluster.object::<ConfigMap>("ConfigMap", name)?;
            found.map(|map| with_value(map.data, |value| !value.is_empty()))
        }
    })
}

fn with_value<V>(data: Option<BTreeMap<String, V>>, is_set: impl Fn(&V) -> bool) -> BTreeSet<String> {
    let data = data.unwrap_or_default().into_iter();
    data.filter_map(|(key, value)| is_set(&value).then_some(key)).collect()
}

/// Which of the keys are not there, those by which Discord is told with them where the source `tells` it.
fn lacking(keys: &BTreeSet<String>, tells: bool, there: &BTreeSet<String>) -> Vec<String> {
    let mut lacks: Vec<String> = keys.difference(there).cloned().collect();
    if tells && !DISCORD.iter().any(|either| either.iter().all(|key| there.contains(*key))) {
        let either = DISCORD.map(|either| either.join(" and "));
        lacks.push(either.join(", or "));
    }
    lacks
}

fn remedy(namespace: &str, kind: Kind, name: &str, is_there: bool, lacks: &[String]) -> String {
    let kubectl = format!("kubectl -n {namespace}");
    match (kind, is_there) {
        (Kind::Secret, true) => format!("{kubectl} edit secret {name}: add them below stringData:"),
        (Kind::ConfigMap, true) => format!("{kubectl} edit configmap {name}: add them below data:"),
        (Kind::Secret, false) if lacks.is_empty() => {
            format!("{kubectl} create secret docker-registry {name}, with the registry's login")
        }
        (kind, false) => {
            let what = if kind == Kind::Secret { "secret generic" } else { "configmap" };
            format!(
                "{kubectl} create {what} {name}, with --from-file=KEY=FILE for each of {}",
                lacks.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    /// P13
    #[test]
    fn discord_is_told_by_either_of_its_credentials_and_only_where_that_is_asked() {
        let lacks = |tells, there: &[&str]| lacking(&set(&["A"]), tells, &set(there)).len();
        assert_eq!(lacks(true, &["A", "DISCORD_WEBHOOK_URL"]), 0);
        assert_eq!(lacks(true, &["A", "DISCORD_BOT_TOKEN", "DISCORD_CHANNEL_ID"]), 0);
        assert_eq!(lacks(true, &["A", "DISCORD_BOT_TOKEN"]), 1);
        assert_eq!(lacks(false, &["A"]), 0);
        assert_eq!(lacks(true, &[]), 2);
    }
}
