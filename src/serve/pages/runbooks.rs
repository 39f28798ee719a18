//! The shipped runbooks as a page: where alerts lead unless the configuration names another place.
//! Each section's anchor is its heading in lower case: the cause's id, or the rule's name.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

/// The text, as the repository has it.
const RUNBOOKS: &str = include_str!("../../../alerts/RUNBOOKS.md");

/// What stands below the page's own heading.
pub(super) fn body() -> Markup {
    let sections = sections();
    let mut text = String::new();
    pulldown_cmark::html::push_html(&mut text, with_anchors().into_iter());
    html! {
        // The text is our own, and holds no HTML.
        (PreEscaped(text))
        nav aria-label="Sections" {
            @for section in &sections { a href={ "#" (anchor(section)) } { (section) } }
        }
    }
}

/// The events of the text without its first heading, each section's heading with its anchor.
fn with_anchors() -> Vec<Event<'static>> {
    let title = |event: &Event<'_>| !matches!(event, Event::End(TagEnd::Heading(HeadingLevel::H1)));
    let mut events: Vec<_> = Parser::new(RUNBOOKS).skip_while(title).skip(1).collect();
    let names: Vec<Option<String>> = (0..events.len())
        .map(|index| match &events[index..] {
            [Event::Start(Tag::Heading { .. }), rest @ ..] => Some(heading(rest)),
            _ => None,
        })
        .collect();
    for (event, name) in events.iter_mut().zip(names) {
        if let (Event::Start(Tag::Heading { id, .. }), Some(name)) = (event, name) {
            *id = Some(anchor(&name).into());
        }
    }
    events
}

/// The plain text of a heading, from the events behind its start.
fn heading(events: &[Event<'_>]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let texts = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        _ => None,
    });
    texts.collect()
}

/// The headings of all sections.
fn sections() -> Vec<String> {
    let events: Vec<_> = Parser::new(RUNBOOKS).collect();
    let is_section = |event: &Event<'_>| {
        matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }))
    };
    let starts = (0..events.len()).filter(|index| is_section(&events[*index]));
    starts.map(|index| heading(&events[index + 1..])).collect()
}

fn anchor(name: &str) -> String {
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Cause;

    const RULES: &str = include_str!("../../../alerts/headwater.rules.yml");

    #[test]
    fn every_cause_and_every_rule_has_its_anchor() {
        let page = body().into_string();
        let rules = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let rules: Vec<String> = rules.map(str::to_lowercase).collect();
        assert!(rules.len() >= 5, "the rules were found: {rules:?}");
        let causes = Cause::ALL.iter().map(|cause| cause.id().to_owned());
        for name in causes.chain(rules) {
            let heading = format!("<h2 id=\"{name}\">");
            assert_eq!(page.matches(&heading).count(), 1, "{heading}");
        }
    }

    #[test]
    fn the_text_is_whole_and_holds_no_html_of_its_own() {
        let page = body().into_string();
        assert!(!page.contains("<h1"), "the page has one heading of that rank already");
        assert!(page.contains("What holds for every cause"));
        assert!(page.contains("<strong>Do not</strong> clear all pins."));
        let html = |event: &Event<'_>| matches!(event, Event::Html(_) | Event::InlineHtml(_));
        assert_eq!(Parser::new(RUNBOOKS).find(html), None);
    }
}
