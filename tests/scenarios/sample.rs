//! A sample of the catalogue, with every run of the tests: each kind on some fleets, on small ones
//! after histories of all lengths, on the largest only what is told at once. All of it must be
//! right but what is known not to be. The whole is in `full`.

use super::{
    catalogue::Kind,
    figures::{Figures, print_kinds},
    play::{Played, each, play_kinds},
    stage::{DEMO, FEW, HUGE, LARGE, NIGHTLY, SMALL, Setting},
};

/// What goes wrong so far, by kind and seed. An entry whose story goes right must go.
const KNOWN: &[(&str, u64)] = &[
    // An hour of history cannot tell it from a tail of what comes and goes.
    ("a twentieth of connections lost", 3),
    // More devices online and more updates each explain a part; that both do is not added up.
    ("applications merge", 225),
];

/// Plays on all settings, and fails if anything is wrong that is not known, or known and not wrong.
fn play_all(settings: &[Setting], suits: impl Fn(&Kind) -> bool + Sync) {
    let played: Vec<Played> =
        each(settings, |setting| play_kinds(*setting, &suits)).into_iter().flatten().collect();
    print_kinds(&played);
    Figures::of(&played).print();
    let surprising = played.iter().filter(|it| {
        let is_known = KNOWN.contains(&(it.kind.name, it.setting.seed));
        is_known == it.mistakes.is_empty()
    });
    let surprising: Vec<String> = surprising
        .map(|it| format!("{} on {}: {}", it.kind.name, it.setting.name(), it.mistakes.join("; ")))
        .collect();
    let count = surprising.len();
    assert!(count == 0, "{count} of {} surprise:\n{}", played.len(), surprising.join("\n"));
}

#[test]
fn what_happens_to_small_fleets_is_told_and_what_their_owners_do_is_not() {
    let small = |seed, hour, warm_up| Setting::new(SMALL, seed, hour, warm_up);
    let settings = [
        small(225, 0, 11_520),
        small(1, 3, 2),
        small(2, 9, 40),
        small(3, 14, 240),
        small(4, 22, 960),
        small(5, 0, 8),
    ];
    play_all(&settings, |_| true);
}

#[test]
fn what_happens_to_a_middling_fleet_is_told_and_what_its_owners_do_is_not() {
    play_all(&[Setting::new(DEMO, 21, 22, 2)], |kind| kind.watched <= 80);
    play_all(&[Setting::new(DEMO, 22, 6, 2_880)], |kind| kind.watched <= 240);
}

#[test]
fn what_happens_to_large_fleets_is_told_and_what_their_owners_do_is_not() {
    let settings = [
        Setting::new(HUGE, 5, 21, 12),
        Setting::new(NIGHTLY, 8, 22, 120),
        Setting::new(FEW, 9, 11, 30),
        Setting::new(LARGE, 7, 13, 20),
    ];
    play_all(&settings[..1], |kind| kind.name == "pin in batches, then unpin");
    play_all(&settings[1..2], |kind| kind.name == "unpin 840 a minute");
    play_all(&settings[2..3], |kind| kind.name.starts_with("a giant"));
    play_all(&settings[3..], |kind| {
        matches!(
            kind.name,
            "pin at once" | "unpin a tenth" | "retarget at once" | "the largest application ships"
        )
    });
}
