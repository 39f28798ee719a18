//! Whether the text of a statement writes rows of a table, or may. Reads tokens, not grammar: what
//! matters is which table follows which verb, wherever in the statement (a CTE, a MERGE) that is.

use std::collections::BTreeSet;

/// What a statement's text says of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It names the table behind a verb that writes.
    Certainly,
    /// It runs code (`DO`, `CALL`, a volatile function) that may write anything.
    Possibly,
    /// Neither.
    No,
}

/// Reads `text`, a statement as `pg_stat_statements` normalises it. `functions` are the names of
/// functions in the database that may write.
pub fn writes(text: &str, table: &str, functions: &BTreeSet<String>) -> Writes {
    let tokens = tokens(text);
    for start in 0..tokens.len() {
        if let Some(after_verb) = after_writing_verb(&tokens[start..])
            && names_table(after_verb, table)
        {
            return Writes::Certainly;
        }
    }
    let runs_code = match tokens.first() {
        Some(Token::Word(word)) => word == "do" || word == "call",
        _ => false,
    };
    if runs_code || calls_any(&tokens, functions) { Writes::Possibly } else { Writes::No }
}

/// Whether `text` takes rows out of `table`, by `DELETE`, `TRUNCATE` or `MERGE`, in a CTE or an
/// anonymous block too.
pub fn deletes(text: &str, table: &str) -> bool {
    let mut tokens = tokens(text);
    if tokens.first().is_some_and(|token| token.is_word("do")) {
        // The block's body is a literal between dollars: here it is read as statements.
        tokens = self::tokens(&text.replace('$', " "));
    }
    (0..tokens.len()).any(|start| {
        let verb = &tokens[start..];
        let merges =
            || verb.windows(2).any(|pair| pair[0].is_word("then") && pair[1].is_word("delete"));
        let removes = match verb.first() {
            Some(Token::Word(word)) => match word.as_str() {
                "delete" | "truncate" => true,
                "merge" => merges(),
                _ => false,
            },
            _ => false,
        };
        removes && after_writing_verb(verb).is_some_and(|named| names_table(named, table))
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A keyword or an unquoted name, folded to lower case as PostgreSQL does.
    Word(String),
    /// A quoted name, as it is.
    Quoted(String),
    /// Punctuation. Literals and parameters stand as `?`.
    Symbol(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Symbol(_) => None,
        }
    }
}

/// What follows `UPDATE`, `INSERT INTO`, `DELETE FROM`, `MERGE INTO`, `COPY` or `TRUNCATE`, with
/// `ONLY` and `TABLE` skipped. `FOR UPDATE OF device`, `DO UPDATE SET` and `ON UPDATE` name no
/// table.
fn after_writing_verb(tokens: &[Token]) -> Option<&[Token]> {
    let (verb, rest) = tokens.split_first()?;
    let second = |word: &str| rest.first().is_some_and(|token| token.is_word(word));
    let mut rest = match verb {
        Token::Word(word) => match word.as_str() {
            "update" => rest,
            "insert" | "merge" if second("into") => &rest[1..],
            "delete" if second("from") => &rest[1..],
            "truncate" => rest,
            "copy" if rest.iter().any(|token| token.is_word("from")) => rest,
            _ => return None,
        },
        _ => return None,
    };
    while let Some((Token::Word(word), after)) = rest.split_first()
        && (word == "only" || word == "table")
    {
        rest = after;
    }
    Some(rest)
}

/// Whether a possibly qualified name that begins here is the table's.
fn names_table(mut tokens: &[Token], table: &str) -> bool {
    loop {
        match tokens {
            [_, Token::Symbol('.'), rest @ ..] => tokens = rest,
            [name, ..] => return name.name() == Some(table),
            [] => return false,
        }
    }
}

fn calls_any(tokens: &[Token], functions: &BTreeSet<String>) -> bool {
    tokens.windows(2).any(|pair| {
        pair[1] == Token::Symbol('(') && pair[0].name().is_some_and(|name| functions.contains(name))
    })
}

/// Splits a text into tokens; comments vanish. A text that was cut off in the middle is fine.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest)
        } else if first == '\'' {
            let escapes = tokens.last().is_some_and(|token: &Token| token.is_word("e"));
            tokens.push(Token::Symbol('?'));
            literal_length(rest, escapes)
        } else if first == '"' {
            let length = quoted_length(rest);
            let inner = rest[1..length].strip_suffix('"').unwrap_or(&rest[1..length]);
            tokens.push(Token::Quoted(inner.replace("\"\"", "\"")));
            length
        } else if first == '$' {
            tokens.push(Token::Symbol('?'));
            dollar_length(rest)
        } else if is_name_start(first) {
            let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_lowercase()));
            length
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Symbol(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Block comments nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A string literal: a doubled quote stands for itself, and behind `E` a backslash escapes.
fn literal_length(text: &str, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && escapes {
            characters.next();
        } else if c == '\'' && characters.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    text.len()
}

fn quoted_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '"' && characters.next_if(|(_, next)| *next == '"').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// `$1` is a parameter; `$$…$$` and `$tag$…$tag$` are literals.
fn dollar_length(text: &str) -> usize {
    let tag_end = text[1..].find(|c| !is_name_part(c) || c == '$').map(|at| at + 1);
    match tag_end {
        Some(end) if text[end..].starts_with('$') && !text[1..].starts_with(char::is_numeric) => {
            let tag = &text[..=end];
            let body = &text[tag.len()..];
            body.find(tag).map_or(text.len(), |at| tag.len() + at + tag.len())
        }
        Some(end) => end,
        None => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(text: &str) -> Writes {
        writes(text, "device", &BTreeSet::from(["unpin_all".to_owned()]))
    }

    #[test]
    fn statements_that_write_the_table_are_recognised_however_they_spell_it() {
        for text in [
            r#"UPDATE "device" SET "is pinned on-release" = $1"#,
            "update device set x = 1",
            "UPDATE ONLY public.device AS d SET x = $1",
            r#"UPDATE "public"."device" SET x = $1"#,
            r#"INSERT INTO "device" ("id") VALUES ($1) ON CONFLICT DO UPDATE SET x = $2"#,
            r#"DELETE FROM "device" WHERE "id" = $1"#,
            "DELETE FROM ONLY device",
            "MERGE INTO device USING other ON device.id = other.id WHEN MATCHED THEN DELETE",
            r#"WITH a AS (SELECT 1), done AS (UPDATE "device" SET x = $1 RETURNING 1) SELECT 1"#,
            "/* by ops; nested /* twice */ */ UPDATE -- really\n \"device\" SET x = $1",
            "COPY device (id) FROM STDIN",
            "TRUNCATE TABLE device",
            "SELECT 'it''s UPDATE'; UPDATE device SET x = 1",
            "SELECT E'it\\'s'; UPDATE device SET x = 1",
        ] {
            assert_eq!(classify(text), Writes::Certainly, "{text}");
        }
    }

    #[test]
    fn statements_that_only_mention_the_table_are_not() {
        for text in [
            r#"SELECT count(*) FROM "device""#,
            "SELECT 1 FROM device FOR UPDATE OF device",
            "SELECT 1 FROM device FOR NO KEY UPDATE",
            "UPDATE device_tag SET x = $1",
            "UPDATE \"Device\" SET x = $1",
            "UPDATE \"device\"\"s\" SET x = $1",
            "UPDATE device.tag SET x = $1",
            "INSERT INTO log SELECT 'UPDATE device SET x = 1'",
            "INSERT INTO log VALUES ($$UPDATE device SET x = 1$$, $1)",
            "INSERT INTO log VALUES ($a$UPDATE device$a$)",
            "-- UPDATE device\nSELECT 1",
            "COPY device TO STDOUT",
            "CREATE TRIGGER t AFTER UPDATE ON device EXECUTE FUNCTION f()",
            "SELECT count(*), now() FROM device",
            "",
            "/* UPDATE device",
            "'UPDATE device",
            "\"UPDATE device",
            "$",
            "$tag$UPDATE device",
        ] {
            assert_eq!(classify(text), Writes::No, "{text}");
        }
    }

    #[test]
    fn statements_that_take_rows_out_of_the_table_are_told_from_others() {
        for text in [
            r#"DELETE FROM "device" WHERE "id" % $1 = $2"#,
            "delete from only public.device as d using gone where d.id = gone.id",
            r#"WITH gone AS (DELETE FROM "device" RETURNING "id") SELECT count(*) FROM gone"#,
            "TRUNCATE TABLE device",
            "MERGE INTO device USING gone ON device.id = gone.id WHEN MATCHED THEN DELETE",
            "DO $$ BEGIN DELETE FROM device WHERE id < 100; END $$",
            "DO $body$ BEGIN DELETE FROM \"device\"; END $body$",
        ] {
            assert!(deletes(text, "device"), "{text}");
        }
        for text in [
            r#"UPDATE "device" SET "is pinned on-release" = $1"#,
            r#"DELETE FROM "device tag" WHERE "device" = $1"#,
            r#"DELETE FROM "release" USING "device" WHERE "device"."id" = $1"#,
            "MERGE INTO device USING other ON device.id = other.id WHEN MATCHED THEN DO NOTHING",
            "INSERT INTO log VALUES ($$DELETE FROM device$$)",
            "DO $$ BEGIN UPDATE device SET x = 1; END $$",
            "SELECT unpin_all()",
            "",
        ] {
            assert!(!deletes(text, "device"), "{text}");
        }
    }

    #[test]
    fn code_that_may_write_is_possible() {
        for text in [
            "DO $$ BEGIN UPDATE device SET x = 1; END $$",
            "CALL batch($1)",
            "SELECT unpin_all()",
            "SELECT public.\"unpin_all\" ($1)",
        ] {
            assert_eq!(classify(text), Writes::Possibly, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            classify(&text);
            deletes(&text, "device");
        }

        #[test]
        fn any_text_of_awkward_parts_can_be_read(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "$", "$$", "$a$", "'", "\"", "E'", "\\", "/*", "*/", "--", "\n", "é", "device",
                    "update ", "insert into ", ".", "(", "1", "_",
                ]),
                0..12,
            )
        ) {
            classify(&parts.concat());
            deletes(&parts.concat(), "device");
        }
    }
}
