//! `headwater demo`, from its first line to its last.

use super::*;

/// Slow enough for a sample to fit into its interval on a busy machine; the story then takes a
/// minute.
const SPEED: &str = "60";

#[tokio::test]
async fn the_demo_tells_the_night_and_ends_with_it() {
    let mut command = headwater();
    command.args(["demo", "--exit", "--seed", "7", "--speed", SPEED, "--listen", "127.0.0.1:0"]);
    let output = run(command).await;
    let told = String::from_utf8(output.stdout).expect("the story is text");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}\n{errors}");
    assert!(told.starts_with("Headwater demo, seed 7 "), "{told}");
    assert!(!told.contains("127.0.0.1:0/"), "the address is the real one: {told}");
    assert!(!errors.contains("ERROR"), "{errors}");

    let pages: Vec<&str> = told.split("┏━ PAGE at ").skip(1).collect();
    let causes = ["mass_pin", "mass_unpin"];
    assert_eq!(pages.len(), causes.len(), "{told}");
    for (page, cause) in pages.iter().zip(causes) {
        let page = page.split('┗').next().unwrap_or_default();
        for label in [&format!("cause={cause}"), "severity=critical", "fleet=demo", "incident="] {
            assert!(page.contains(label), "{label} in {page}");
        }
        assert!(page.contains("Next:") && page.contains(&format!("runbooks#{cause}")), "{page}");
    }
    assert!(!told.contains("━ NOTICE"), "nothing else notifies: {told}");
    let (_, table) = told.split_once("How long after each cause").expect("the closing table");
    for cause in causes {
        let row = table.lines().find(|line| line.trim_start().starts_with(cause));
        let row = row.unwrap_or_else(|| panic!("{cause} in {table}"));
        assert!(row.contains("recognised after ") && row.contains("paged after "), "{row}");
        assert!(!row.contains(" min ") && !row.contains(" h "), "in seconds: {row}");
    }
    assert!(table.contains("other notifications: none"), "{table}");
    assert!(table.contains("In 2019 it took 2 h 26 min"), "{table}");
    let wide = told.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None, "it fits a terminal");
}
