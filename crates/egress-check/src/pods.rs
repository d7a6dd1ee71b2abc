//! The pods of a check: a neighbour that listens, one with the agent's label, and one without it. Pure.

use agent_task::labels::{AGENT, CHECK, MANAGED_BY, MANAGER};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector, Pod,
    PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use spawn_job::settings::Settings;
use std::collections::BTreeMap;

/// The port that the pods listen on.
pub const PORT: u16 = 8080;

/// The container that probes.
pub const PROBE: &str = "probe";

/// What all pods of a check have in common: what the cluster's settings say of the agents' pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// The settings.
    pub settings: Settings,
    /// The check's id.
    pub check: String,
    /// How long a pod may live, in seconds; longer than a check takes. Where nobody is left to delete it, it ends by itself.
    pub lifetime: i64,
}

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It listens.
    Neighbour,
    /// It probes and listens, and bears the agent's label.
    Agent,
    /// It probes, and bears no agent's label.
    Control,
}

/// The pod for this purpose, which probes with these arguments.
#[must_use]
pub fn pod(purpose: Purpose, around: &Surroundings, probe: &[String]) -> Pod {
    let settings = &around.settings;
    let mut labels = BTreeMap::from([
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        (CHECK.to_owned(), around.check.clone()),
    ]);
    let (name, containers) = match purpose {
        Purpose::Neighbour => ("neighbour", vec![listener(around)]),
        Purpose::Agent => {
            // The value is no agent's name, but policies ask for the label alone.
            labels.insert(AGENT.to_owned(), "egress-check".to_owned());
            ("agent", vec![prober(around, probe), listener(around)])
        }
        Purpose::Control => ("control", vec![prober(around, probe)]),
    };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("egress-check-{name}-")),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers,
            restart_policy: Some("Never".to_owned()),
            active_deadline_seconds: Some(around.lifetime),
            termination_grace_period_seconds: Some(1),
            automount_service_account_token: Some(false),
            service_account_name: Some(settings.service_account.clone()),
            image_pull_secrets: Some(
                settings
                    .image_pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: Some(settings.node_selector.clone()),
            tolerations: Some(settings.tolerations.clone()),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(1001),
                run_as_group: Some(1001),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn prober(around: &Surroundings, arguments: &[String]) -> Container {
    let mut args = vec!["probe".to_owned()];
    args.extend_from_slice(arguments);
    Container {
        env: Some(vec![EnvVar {
            name: "NODE_ADDRESS".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: "status.hostIP".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
        }]),
        ..container(PROBE, around, args)
    }
}

fn listener(around: &Surroundings) -> Container {
    container("listen", around, vec!["listen".to_owned(), PORT.to_string()])
}

fn container(name: &str, around: &Surroundings, args: Vec<String>) -> Container {
    let amounts = |cpu: &str, memory: &str| {
        let quantity = |text: &str| Quantity(text.to_owned());
        BTreeMap::from([
            ("cpu".to_owned(), quantity(cpu)),
            ("memory".to_owned(), quantity(memory)),
            ("ephemeral-storage".to_owned(), quantity("16Mi")),
        ])
    };
    Container {
        name: name.to_owned(),
        image: Some(around.settings.image.clone()),
        image_pull_policy: Some(around.settings.image_pull_policy.clone()),
        command: Some(vec!["egress-check".to_owned()]),
        args: Some(args),
        resources: Some(ResourceRequirements {
            requests: Some(amounts("10m", "16Mi")),
            limits: Some(amounts("500m", "64Mi")),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            settings: Settings::read("image: registry.test/pressrun:1").unwrap(),
            check: "3fa9c10b77de".to_owned(),
            lifetime: 300,
        }
    }

    /// K8
    #[test]
    fn agent_and_control_differ_in_the_agents_label() {
        let [agent, control] = [Purpose::Agent, Purpose::Control].map(|purpose| pod(purpose, &around(), &[]));
        let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap();
        assert!(labels(&agent).contains_key(AGENT));
        let mut rest = labels(&agent);
        rest.remove(AGENT);
        assert_eq!(rest, labels(&control));
        let probe = |pod: Pod| pod.spec.unwrap().containers.remove(0);
        assert_eq!(probe(agent), probe(control));
    }

    /// K7, K8
    #[test]
    fn the_pods_are_as_locked_down_as_the_agents() {
        for purpose in [Purpose::Neighbour, Purpose::Agent, Purpose::Control] {
            let spec = pod(purpose, &around(), &[]).spec.unwrap();
            assert_eq!(spec.automount_service_account_token, Some(false));
            assert_eq!(spec.active_deadline_seconds, Some(300));
            let security = spec.security_context.unwrap();
            assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(1001)));
            for container in spec.containers {
                let security = container.security_context.unwrap();
                assert_eq!(security.allow_privilege_escalation, Some(false));
                assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
            }
        }
    }
}
