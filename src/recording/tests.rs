//! Recordings as text: what is read, what is reported, and that what is written is read again.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Recording {
    Recording::parse(text.as_bytes(), "test.csv").expect("a readable recording")
}

fn write(recording: &Recording) -> String {
    let mut output = Vec::new();
    let mut writer = Writer::new(&recording.columns, &mut output).expect("a header");
    for row in recording.rows() {
        writer.row(row.at, row.values()).expect("a row");
    }
    writer.finish().expect("a flush");
    String::from_utf8(output).expect("text")
}

#[track_caller]
fn check_read(text: &str, expected: &Expect) {
    let recording = parse(text);
    let mut seen = write(&recording);
    for line in recording.irregularities.describe() {
        seen.push_str(&format!("# {line}\n"));
    }
    expected.assert_eq(&seen);
}

#[track_caller]
fn check_error(text: &[u8], expected: &Expect) {
    let error = Recording::parse(text, "test.csv").expect_err("a mistake");
    expected.assert_eq(&format!("{error:#}"));
}

#[test]
fn every_spelling_of_time_is_one_instant() {
    check_read(
        "time,a\n\
         2019-09-23T22:12:00Z,1\n\
         2019-09-23 22:12:15,2\n\
         2019-09-24T00:12:30+02:00,3\n\
         1569276765,4\n\
         1569276780.5,5\n\
         2019-09-23T22:13:15.250,6\n",
        &expect![[r#"
            time,a
            2019-09-23T22:12:00Z,1
            2019-09-23T22:12:15Z,2
            2019-09-23T22:12:30Z,3
            2019-09-23T22:12:45Z,4
            2019-09-23T22:13:00.500Z,5
            2019-09-23T22:13:15.250Z,6
        "#]],
    );
}

#[test]
fn missing_is_empty_nan_or_null_and_infinite_is_missing_and_counted() {
    check_read(
        "time,a,b,c,d\n0,,NaN,null,0\n60, 1 ,nan,NULL,-0\n120,inf,-inf,1e999,1\n",
        &expect![[r#"
            time,a,b,c,d
            1970-01-01T00:00:00Z,,,,0
            1970-01-01T00:01:00Z,1,,,-0
            1970-01-01T00:02:00Z,,,,1
            # infinite values, taken as missing: 3
        "#]],
    );
}

#[test]
fn rows_are_sorted_and_merged_and_gaps_are_counted() {
    check_read(
        "time,a,b\n0,1,\n120,3,30\n60,2,\n60,,20\n60,5,\n180,4,\n600,6,\n660,7,\n",
        &expect![[r#"
            time,a,b
            1970-01-01T00:00:00Z,1,
            1970-01-01T00:01:00Z,5,20
            1970-01-01T00:02:00Z,3,30
            1970-01-01T00:03:00Z,4,
            1970-01-01T00:10:00Z,6,
            1970-01-01T00:11:00Z,7,
            # rows out of order, sorted by time: 1
            # rows of a time that stood there already, merged, later values win: 2
            # gaps, the longest of 420 s: 1
        "#]],
    );
}

#[test]
fn names_may_hold_anything_and_the_time_may_stand_anywhere() {
    let recording =
        parse("\u{feff}\"a,b\",time,\" x \",\"say \"\"hi\"\"\",Größe {job=~\".*\"}\n1,0,2,3,4\n");
    assert_eq!(recording.columns, ["a,b", " x ", "say \"hi\"", "Größe {job=~\".*\"}"]);
    let row = recording.rows().next().expect("a row");
    assert_eq!(row.values().collect::<Vec<_>>(), [Some(1.0), Some(2.0), Some(3.0), Some(4.0)]);
    assert_eq!(row.value(4), None);
}

#[test]
fn a_byte_order_mark_before_time_is_no_part_of_the_name() {
    assert_eq!(parse("\u{feff}time,a\r\n0,1\r\n").columns, ["a"]);
}

#[test]
fn the_interval_is_the_median_spacing() {
    assert_eq!(parse("time,a\n").interval_s(), None);
    assert_eq!(parse("time,a\n0,1\n").interval_s(), None);
    assert_eq!(parse("time,a\n0,1\n15,1\n30,1\n45,1\n4500,1\n").interval_s(), Some(15.0));
    assert_eq!(parse("time,a\n0,1\n0.25,1\n0.5,1\n").interval_s(), Some(0.25));
}

#[test]
fn mistakes_name_the_place_the_value_and_the_remedy() {
    check_error(
        b"",
        &expect!["test.csv: empty: a recording begins with a header, `time` and one name a signal"],
    );
    check_error(
        b"Time,a\n0,1\n",
        &expect![[
            r#"test.csv:1: no column `time` among "Time", "a": rename the column that holds the times"#
        ]],
    );
    check_error(
        b"time\n0\n",
        &expect!["test.csv:1: no column beside `time`: add one column a signal"],
    );
    check_error(
        b"time,a,b,a\n0,1,2,3\n",
        &expect![[r#"test.csv:1: the column "a" is there twice: rename or remove one"#]],
    );
    check_error(
        b"time,,b\n0,1,2\n",
        &expect!["test.csv:1: column 2 has no name: name or remove it"],
    );
    check_error(
        b"time,a\n0,1\n15,\"1,234\"\n",
        &expect![[
            r#"test.csv:3: column "a": "1,234" is no number: write it with a decimal point and without thousands separators, or leave the cell empty if the sample is missing"#
        ]],
    );
    check_error(
        b"time,a\n0,1\n\n15,1,2\n",
        &expect![
            "test.csv:3: 3 cells where the header has 2: complete the row, or quote a cell that holds a comma"
        ],
    );
    check_error(
        b"time,a\nyesterday,1\n",
        &expect![[
            r#"test.csv:2: column "time": "yesterday" is no time: write RFC 3339 (2019-09-23T22:12:00Z), 2019-09-23 22:12:00 in UTC, or Unix seconds"#
        ]],
    );
    check_error(
        b"time,a\n,1\n",
        &expect![[
            r#"test.csv:2: column "time": "" is no time: write RFC 3339 (2019-09-23T22:12:00Z), 2019-09-23 22:12:00 in UTC, or Unix seconds"#
        ]],
    );
    check_error(
        b"time,a\n1569276780000,1\n",
        &expect![[
            r#"test.csv:2: column "time": "1569276780000" is beyond the year 9999 in Unix seconds: divide milliseconds by 1000"#
        ]],
    );
    check_error(
        b"time,a\n0,\xff\n",
        &expect![[
            r#"test.csv:2: column "a": "�" is no number: write it with a decimal point and without thousands separators, or leave the cell empty if the sample is missing"#
        ]],
    );
    check_error(
        b"time,\xff\n0,1\n",
        &expect![
            "test.csv:1: not readable as CSV: CSV parse error: record 0 (line 1, field: 1, byte: 0): invalid utf-8: invalid UTF-8 in field 1 near byte index 0"
        ],
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Recording::read(Path::new("no/such.csv")).expect_err("no such file");
    assert!(format!("{error:#}").contains("cannot open the recording no/such.csv"));
}

fn cells() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        any::<f64>().prop_map(|value| Some(value).filter(|value| value.is_finite())),
        any::<u32>().prop_map(|value| Some(f64::from(value))),
    ]
}

fn bits(recording: &Recording) -> Vec<(Time, Vec<Option<u64>>)> {
    let row = |row: Row<'_>| (row.at, row.values().map(|v| v.map(f64::to_bits)).collect());
    recording.rows().map(row).collect()
}

proptest! {
    /// What was written reads back to the bit, and writes the same bytes again.
    #[test]
    fn a_recording_survives_the_round_trip(
        names in prop::collection::btree_set("[^\u{feff}]{1,8}", 1..5),
        rows in prop::collection::btree_map(
            // The years 0 to 9999, which RFC 3339 can spell.
            -62_167_219_200_000i64..253_402_300_799_000,
            prop::collection::vec(cells(), 4),
            0..20,
        ),
    ) {
        let columns: Vec<String> = names.into_iter().filter(|name| name.trim() != "time").collect();
        prop_assume!(!columns.is_empty());
        let mut output = Vec::new();
        let mut writer = Writer::new(&columns, &mut output).expect("a header");
        let mut expected = Vec::new();
        for (millis, values) in &rows {
            let at = DateTime::from_timestamp_millis(*millis).expect("within the calendar");
            let values = &values[..columns.len()];
            writer.row(at, values.iter().copied()).expect("a row");
            expected.push((at, values.iter().map(|value| value.map(f64::to_bits)).collect()));
        }
        writer.finish().expect("a flush");
        let recording = Recording::parse(output.as_slice(), "test.csv").expect("own output");
        prop_assert_eq!(&recording.columns, &columns);
        prop_assert_eq!(bits(&recording), expected);
        prop_assert_eq!(write(&recording).into_bytes(), output);
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Recording::parse(bytes.as_slice(), "test.csv");
        let _ = Recording::parse([b"time,a\n", bytes.as_slice()].concat().as_slice(), "test.csv");
    }

    /// No text makes the parser of times panic.
    #[test]
    fn any_text_is_a_time_or_not(text in "\\PC{0,40}", number in any::<f64>()) {
        let _ = parse_time(&text);
        let _ = parse_time(&number.to_string());
    }
}

#[test]
fn each_row_of_the_file_knows_its_sample() {
    let regular = parse("time,a\n0,1\n15,2\n30,3\n");
    assert_eq!(regular.input_rows().collect::<Vec<_>>(), [0, 1, 2]);
    let unruly = parse("time,a\n15,2\n0,1\n45,4\n15,5\n30,3\n");
    assert_eq!(unruly.input_rows().collect::<Vec<_>>(), [1, 0, 3, 1, 2]);
    assert_eq!(unruly.row(1).value(0), Some(5.0));
}

#[test]
fn columns_of_one_grid_become_rows_and_empty_times_none() {
    let start = parse_time("2019-09-23T22:12:00Z").unwrap();
    let (hole, step) = (f64::NAN, TimeDelta::milliseconds(1_500));
    let columns =
        [("a".to_owned(), vec![1.0, hole, 3.0, hole]), ("b".to_owned(), vec![hole, hole, 6.0])];
    let recording = Recording::of_columns(start, step, columns);
    expect![[r#"
        time,a,b
        2019-09-23T22:12:00Z,1,
        2019-09-23T22:12:03Z,3,6
    "#]]
    .assert_eq(&write(&recording));
    assert_eq!(Recording::of_columns(start, step, []).rows().len(), 0);
}

#[test]
fn counts_are_read_to_the_bit_as_any_number_is() {
    for text in ["0", "7", "007", "999999999999999", "123456789012345678", "9007199254740993"] {
        let recording = parse(&format!("time,a\n0,{text}\n"));
        let read = recording.row(0).value(0).expect("a value");
        assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}

#[test]
fn present_values_have_their_columns_names() {
    let recording = parse("time,b,a,c\n0,2,1,\n");
    let names: Vec<Name> = recording.columns.iter().map(|name| name.as_str().into()).collect();
    assert_eq!(recording.row(0).named(&names), Values::from([("a", 1.0), ("b", 2.0)]));
}
