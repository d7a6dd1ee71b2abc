//! `settings`: there are some, and `spawn-job` can read them.

use super::Cluster;
use crate::check::Finding;
use crate::context::{Context, fault};
use anyhow::Context as _;
use piece::Fault;
use spawn_job::cluster::{SETTINGS, settings};
use spawn_job::settings::Settings;

pub(crate) fn look(context: &Context) -> anyhow::Result<Finding> {
    let cluster = super::with_namespace(context)?;
    let settings = cluster.settings.get_or_init(|| read(cluster)).as_ref().map_err(Fault::clone)?;
    let repository = settings.repository.as_deref().unwrap_or("the repository that a task names");
    let mode = settings.workspace.mode;
    let mode = serde_json::to_value(mode)?;
    Ok(Finding::Good(format!(
        "image {}, volumes of mode {}, for {} of {repository}",
        settings.image,
        mode.as_str().unwrap_or_default(),
        settings.base
    )))
}

pub(super) fn read(cluster: &Cluster) -> Result<Settings, Fault> {
    let (origin, yaml) = match &cluster.config {
        Some(file) => {
            let origin = file.display().to_string();
            let yaml = std::fs::read_to_string(file)
                .with_context(|| Fault::usage(format!("cannot read the settings from {origin}")));
            (origin, yaml)
        }
        None => (
            format!("the ConfigMap {SETTINGS} in {}", cluster.namespace),
            cluster.wait(settings(&cluster.client, &cluster.namespace))?,
        ),
    };
    let yaml = yaml.map_err(|error| fault(&error))?;
    Settings::read(&yaml).map_err(|why| {
        Fault::failed(format!("the settings are wrong, {origin}: {why}"))
            .hint("correct that key: docs/tasks.md has them all")
    })
}
