//! The targets run without libFuzzer: over their seeds, and over what a simple mutation makes of these.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test has no other way to fail")]

use std::path::Path;

/// How many mutants of a seed are tried.
const MUTANTS: u64 = 100;

/// SplitMix64: the same numbers everywhere.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut number = *state;
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (number ^ (number >> 31)) as usize
}

fn mutant(seed: &[u8], number: u64) -> Vec<u8> {
    let mut state = number;
    let mut bytes = seed.to_vec();
    for _ in 0..=random(&mut state) % 4 {
        let (at, value) = (random(&mut state) % (bytes.len() + 1), random(&mut state));
        match random(&mut state) % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, value as u8),
            2 if at < bytes.len() => bytes[at] = value as u8,
            _ => {
                let end = (at + value % 64).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
    bytes
}

/// P4, P6, P7, P8, P10
#[test]
fn every_target_holds_over_its_seeds() {
    for (name, check) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut seeds: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 5, "{name} has too few seeds");
        for path in seeds {
            // What is under test is shown where it fails.
            println!("{}", path.display());
            let seed = std::fs::read(&path).unwrap();
            check(&seed);
            (0..MUTANTS).for_each(|number| check(&mutant(&seed, number)));
        }
    }
}
