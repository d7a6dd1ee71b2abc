use egress_check::policy::{PRIVATE_V4, PRIVATE_V6};
use egress_check::probe::{ProbeReport, Reached};
use egress_check::verdict::{Answer, Proof, Verdict, judge};
use std::process::Command;

const ADDRESSES: [&str; 11] = [
    "10.1.0.7",
    "10.96.0.1",
    "203.0.113.10",
    "10.255.255.254",
    "172.16.77.10",
    "172.31.255.254",
    "192.168.77.10",
    "100.64.77.10",
    "169.254.169.254",
    "fd00:77::10",
    "2001:db8:77::10",
];

const PASSES: [&str; 2] = ["public", "names"];

/// Both probes, across a router that drops these ranges where they come from the agent.
fn probes(filter: &[&str]) -> (ProbeReport, ProbeReport) {
    let report = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"])
        .arg(include_str!("packets.sh"))
        .env("EGRESS_CHECK", env!("CARGO_BIN_EXE_egress-check"))
        .env("ADDRESSES", ADDRESSES.join(" "))
        .env("FILTER", filter.join(" "))
        .env("REPORT", report.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let reports: Vec<ProbeReport> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {stdout}")))
        .collect();
    let [agent, other] = &*reports else { panic!("{stdout}{stderr}") };
    let written: ProbeReport = serde_json::from_slice(&std::fs::read(report.path()).unwrap()).unwrap();
    assert_eq!(&written, agent, "the file has what was printed");
    (agent.clone(), other.clone())
}

fn reached(report: &ProbeReport, target: &str) -> Reached {
    report.findings.iter().find(|found| found.target == target).unwrap().reached
}

fn proof(verdict: &Verdict, name: &str) -> Proof {
    verdict.targets.iter().find(|target| target.name == name).unwrap().proof
}

/// K8
#[test]
fn where_nothing_is_filtered_all_is_reached_and_the_answer_is_not_enforced() {
    let (agent, other) = probes(&[]);
    for found in agent.findings.iter().filter(|found| !["nobody", "closed"].contains(&&*found.name)) {
        assert_eq!(found.reached, Reached::Yes, "{found:?}");
    }
    assert_eq!(reached(&agent, "203.0.113.10:9"), Reached::Refused);
    assert_ne!(reached(&agent, "203.0.113.77:8080"), Reached::Yes);
    let verdict = judge(&agent, &other, &PASSES);
    assert_eq!(verdict.answer, Answer::NotEnforced, "{verdict:?}");
    assert!(
        verdict.reasons.contains(&"the agent reaches neighbour-pod (10.1.0.7:8080)".to_owned()),
        "{verdict:?}"
    );
    assert_eq!((proof(&verdict, "agent-pod"), proof(&verdict, "closed")), (Proof::Broken, Proof::Nothing));
}

/// K8
#[test]
fn where_the_policys_ranges_are_filtered_the_internet_passes_and_the_answer_is_enforced() {
    let (agent, other) = probes(&[&PRIVATE_V4[..], &PRIVATE_V6].concat());
    for found in agent.findings.iter().filter(|found| !["nobody", "closed"].contains(&&*found.name)) {
        let expected = if PASSES.contains(&&*found.name) { Reached::Yes } else { Reached::TimedOut };
        assert_eq!(found.reached, expected, "{found:?}");
    }
    let verdict = judge(&agent, &other, &PASSES);
    assert_eq!(verdict.answer, Answer::Enforced, "{verdict:?}");
    // The answers to who reaches in do not get back out either.
    assert_eq!(proof(&verdict, "agent-pod"), Proof::Holds);
}

/// K8
#[test]
fn one_range_that_is_forgotten_is_found() {
    let all = [&PRIVATE_V4[..], &PRIVATE_V6].concat();
    let forgotten: Vec<&str> = all.into_iter().filter(|range| *range != "100.64.0.0/10").collect();
    let (agent, other) = probes(&forgotten);
    let verdict = judge(&agent, &other, &PASSES);
    assert_eq!(verdict.answer, Answer::NotEnforced);
    let leaks: Vec<&String> =
        verdict.reasons.iter().filter(|reason| reason.starts_with("the agent reaches")).collect();
    assert_eq!(leaks, ["the agent reaches private (100.64.77.10:8080)"]);
}
