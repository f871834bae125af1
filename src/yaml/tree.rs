//! The values of a text and the place of each, as two parsers agree on them.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde::Deserialize as _;
use serde_yaml::Value;

use super::{Field, MAX_BYTES, Source, Step, YamlError};

/// The deepest nesting that is read. What people write needs five or six.
const MAX_DEPTH: usize = 32;

/// Where something stands, counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// The first column behind it, where it ends on the same line.
    pub(super) end_column: Option<usize>,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1, end_column: None };

    fn of(span: Span) -> Self {
        let one_line = span.start.line() == span.end.line() && span.end.col() > span.start.col();
        let end_column = one_line.then(|| span.end.col() + 1);
        Self { line: span.start.line(), column: span.start.col() + 1, end_column }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// As written, without quotes.
    pub(super) text: String,
    /// Neither quoted nor a block.
    pub(super) plain: bool,
    pub(super) meaning: Meaning,
}

/// What `serde_yaml` takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// Whether nothing is written where this value would stand.
    fn is_absent(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.plain && scalar.text.is_empty())
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// The place of the value at the end of the way, or of the last value that exists on it.
    pub(super) fn place_of(&self, way: &[Step]) -> Place {
        self.walk(way).map_or_else(|last| last.place, |node| node.place)
    }

    /// The place of the key at the end of the way, or of what [`place_of`](Self::place_of) finds.
    pub(super) fn place_of_key(&self, way: &[Step]) -> Place {
        if let Some((Step::Key(key), before)) = way.split_last()
            && let Ok(map) = self.walk(before)
            && let Some(entry) = map.entry(key)
        {
            return entry.key_place;
        }
        self.place_of(way)
    }

    /// The value at the end of the way, or the last one that exists on it.
    pub(super) fn walk(&self, way: &[Step]) -> Result<&Self, &Self> {
        let Some((step, rest)) = way.split_first() else { return Ok(self) };
        let next = match (step, &self.kind) {
            (Step::Key(key), _) => self.entry(key).map(|entry| &entry.value),
            (Step::Index(index), Kind::List(items)) => items.get(*index),
            (Step::Index(_), _) => None,
        };
        next.map_or(Err(self), |next| next.walk(rest))
    }
}

/// Reads every document that is not empty, with the range of bytes that it takes up.
pub(super) fn read(source: Source<'_>) -> Result<Vec<(Range<usize>, Node)>, YamlError> {
    if source.text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes, more than the {MAX_BYTES} that are read", source.text.len());
        return Err(source.error(Place::START, "", &message, None));
    }
    refuse_invisible_breaks(source)?;
    let mut documents = Reader::new(source).documents()?;
    settle_meanings(source, &mut documents)?;
    documents.retain(|(_, root)| !root.is_absent());
    Ok(documents)
}

/// YAML 1.1 ends a line at these, YAML 1.2 does not; nobody sees them.
fn refuse_invisible_breaks(source: Source<'_>) -> Result<(), YamlError> {
    const BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
    for (index, line) in source.text.split('\n').enumerate() {
        if let Some((column, found)) = line.chars().enumerate().find(|(_, c)| BREAKS.contains(c)) {
            let place = Place { line: index + 1, column: column + 1, end_column: Some(column + 2) };
            let number = u32::from(found);
            let message = format!("the invisible line break U+{number:04X}, which YAML readers take differently");
            return Err(source.error(place, "", &message, Some("remove it".to_owned())));
        }
    }
    Ok(())
}

/// Turns the events of `granit-parser` into nodes. All plain scalars are text at first.
struct Reader<'a> {
    source: Source<'a>,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    /// The way to what is being read.
    field: Field,
}

impl<'a> Reader<'a> {
    fn new(source: Source<'a>) -> Self {
        let options = granit_parser::options! {
            disallow_directives: true,
            emit_unresolved_aliases: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        Self { source, events: Parser::new_from_str_with_options(source.text, options), field: Field::root() }
    }

    fn error(&self, place: Place, message: &str, help: Option<&str>) -> YamlError {
        self.source.error(place, &self.field.to_string(), message, help.map(str::to_owned))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax_error(self.source, &error)),
            None => Err(self.error(Place::START, "the text ends in the middle of a value", None)),
        }
    }

    fn documents(mut self) -> Result<Vec<(Range<usize>, Node)>, YamlError> {
        let mut starts = Vec::new();
        let mut roots = Vec::new();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(explicit, _), span) => {
                    starts.push(if explicit { self.content_start(span) } else { (0, 0) });
                    let event = self.next()?;
                    roots.push(self.node(event)?);
                }
                _ => {}
            }
        }
        // A document ends where the marker of the next one stands.
        let ends = starts.iter().skip(1).map(|(marker, _)| *marker).chain([self.source.text.len()]);
        let ranges = starts.iter().zip(ends).map(|((_, content), end)| *content..end.max(*content));
        Ok(ranges.zip(roots).collect())
    }

    /// Where the `---` stands, and where the document behind it begins: on the next line, if nothing else is on this.
    fn content_start(&self, marker: Span) -> (usize, usize) {
        let at = marker.start.byte_offset().unwrap_or(0);
        let line = self.source.text.get(at..).unwrap_or_default().split_inclusive('\n').next().unwrap_or_default();
        (at, if line.trim() == "---" { at + line.len() } else { at })
    }

    fn node(&mut self, (event, span): (Event<'a>, Span)) -> Result<Node, YamlError> {
        let place = Place::of(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(place, anchor, tag.is_some())?;
                let scalar = scalar(text, style, span);
                if scalar.plain && is_too_large(&scalar.text) {
                    return Err(self.error(place, "the number is larger than any that is read", Some("quote it")));
                }
                Ok(Node { place, kind: Kind::Scalar(scalar) })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(place, anchor, tag.is_some())?;
                Ok(Node { place, kind: Kind::List(self.list()?) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(place, anchor, tag.is_some())?;
                Ok(Node { place, kind: Kind::Map(self.map(place)?) })
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let help = "quote a value that begins with `*`, as in \"*.html\"";
                Err(self.error(place, "aliases (`*name`) are not read", Some(help)))
            }
            _ => Err(self.error(place, "a value is missing here", None)),
        }
    }

    fn list(&mut self) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                event => {
                    self.field.0.push(Step::Index(items.len()));
                    items.push(self.node(event)?);
                    self.field.0.pop();
                }
            }
        }
    }

    fn map(&mut self, map: Place) -> Result<Vec<Entry>, YamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let event = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                event => event,
            };
            let key_place = Place::of(event.1);
            let (key, plain) = match self.node(event)?.kind {
                Kind::Scalar(Scalar { text, plain, .. }) => (text, plain),
                Kind::Map(_) if map.line == key_place.line && map.column + 1 == key_place.column => {
                    let help = Some("quote a template, as in \"{{ vars.port }}\"");
                    return Err(self.error(map, "`{{` begins a map here, not a template", help));
                }
                Kind::List(_) | Kind::Map(_) => return Err(self.error(key_place, "a key must be text", None)),
            };
            self.field.0.push(Step::Key(key.clone()));
            if key == "<<" && plain {
                let help = Some("write out what the map holds");
                return Err(self.error(key_place, "merge keys (`<<`) are not read", help));
            }
            if let Some(line) = seen.insert(key.clone(), key_place.line) {
                let message = format!("`{key}` is given twice, first on line {line}");
                return Err(self.error(key_place, &message, Some("keep one of the two")));
            }
            let event = self.next()?;
            let mut value = self.node(event)?;
            self.field.0.pop();
            if value.is_absent() {
                // The key is what a person can look at.
                value.place = key_place;
            }
            entries.push(Entry { key, key_place, value });
        }
    }

    fn refuse_properties(&self, place: Place, anchor: usize, tag: bool) -> Result<(), YamlError> {
        if anchor != 0 {
            return Err(self.error(
                place,
                "anchors (`&name`) are not read",
                Some("quote a value that begins with `&`"),
            ));
        }
        if tag {
            return Err(self.error(place, "tags (`!name`) are not read", Some("quote a value that begins with `!`")));
        }
        Ok(())
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, span: Span) -> Scalar {
    let plain = style == ScalarStyle::Plain;
    // Where nothing is written the parser makes up a `~`.
    let absent = plain && span.start.index() == span.end.index();
    Scalar { text: if absent { String::new() } else { text.into_owned() }, plain, meaning: Meaning::Text }
}

/// Whether a plain scalar is a whole number that does not fit 64 bits.
fn is_too_large(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && text.parse::<u64>().is_err() && text.parse::<i64>().is_err()
}

fn syntax_error(source: Source<'_>, error: &ScanError) -> YamlError {
    use granit_parser::ErrorKind as K;
    let marker = error.marker();
    let place = Place { line: marker.line(), column: marker.col() + 1, end_column: None };
    let line = source.text.split('\n').nth(place.line.saturating_sub(1)).unwrap_or_default();
    if let Some(tab) = tab_in_indentation(source.text, place.line, error) {
        let message = "a tab in the indentation, which YAML does not allow";
        return source.error(tab, "", message, Some("indent with spaces".to_owned()));
    }
    let help = match error.kind() {
        K::UnexpectedCharacter { character } => Some(format!("quote a value that begins with `{character}`")),
        K::RecursionLimitExceeded => Some(format!("at most {MAX_DEPTH} levels are read")),
        K::DirectiveDisallowed => Some("remove the line that begins with `%`".to_owned()),
        _ if line.contains("{{") => Some("quote a value that holds a template, as in \"{{ vars.port }}\"".to_owned()),
        _ if line.matches(": ").count() > 1 => Some("quote a value that holds `: `".to_owned()),
        _ => None,
    };
    source.error(place, "", &format!("not YAML: {}", error.info()), help)
}

/// The tab that an error at `line` is about, if it is: one that indents that line, or where the parser speaks of a tab
/// the first one below. It may stand in the middle of a value that began on `line`.
fn tab_in_indentation(text: &str, line: usize, error: &ScanError) -> Option<Place> {
    let lines = if error.info().contains("tab") { usize::MAX } else { 1 };
    text.split('\n').enumerate().skip(line.saturating_sub(1)).take(lines).find_map(|(index, line)| {
        let column = line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')? + 1;
        Some(Place { line: index + 1, column, end_column: None })
    })
}

/// Takes the meaning of every scalar from `serde_yaml`, which must see the same structure and the same text.
fn settle_meanings(source: Source<'_>, documents: &mut [(Range<usize>, Node)]) -> Result<(), YamlError> {
    let mut values = serde_yaml::Deserializer::from_str(source.text).map(Value::deserialize);
    for (_, root) in documents {
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let place = error.location().map_or(root.place, |at| Place {
                    line: at.line(),
                    column: at.column(),
                    end_column: None,
                });
                return Err(ambiguous(source, place, &error.to_string()));
            }
            None => return Err(ambiguous(source, root.place, "one of them sees no document here")),
        };
        settle(source, root, value)?;
    }
    Ok(())
}

fn settle(source: Source<'_>, node: &mut Node, value: Value) -> Result<(), YamlError> {
    let place = node.place;
    match (&mut node.kind, value) {
        (Kind::List(items), Value::Sequence(values)) if items.len() == values.len() => {
            items.iter_mut().zip(values).try_for_each(|(item, value)| settle(source, item, value))
        }
        (Kind::Map(entries), Value::Mapping(values)) if entries.len() == values.len() => {
            entries.iter_mut().zip(values).try_for_each(|(entry, (key, value))| {
                if key.as_str().is_some_and(|key| key != entry.key) {
                    return Err(ambiguous(source, entry.key_place, "they read another key"));
                }
                settle(source, &mut entry.value, value)
            })
        }
        (Kind::Scalar(scalar), value) => match meaning(scalar, &value) {
            Some(meaning) => {
                scalar.meaning = meaning;
                Ok(())
            }
            None => Err(ambiguous(source, place, "they read another value")),
        },
        _ => Err(ambiguous(source, place, "they see another structure")),
    }
}

fn meaning(scalar: &Scalar, value: &Value) -> Option<Meaning> {
    match value {
        Value::String(text) => (*text == scalar.text).then_some(Meaning::Text),
        _ if !scalar.plain => None,
        Value::Null => Some(Meaning::Null),
        Value::Bool(value) => Some(Meaning::Bool(*value)),
        Value::Number(number) => {
            let unsigned = number.as_u64().map(Meaning::Unsigned);
            let signed = || number.as_i64().map(Meaning::Negative);
            unsigned.or_else(signed).or_else(|| number.as_f64().map(Meaning::Float))
        }
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

fn ambiguous(source: Source<'_>, place: Place, what: &str) -> YamlError {
    let message = format!("ambiguous: YAML readers differ here: {what}");
    source.error(place, "", &message, Some("quote the value".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the second parser might say of `[a, b]`.
    fn settled(value: &str) -> Result<(), YamlError> {
        let source = Source { text: "[a, b]", origin: "x" };
        let (_, mut root) = Reader::new(source).documents()?.swap_remove(0);
        settle(source, &mut root, serde_yaml::from_str(value).unwrap())
    }

    #[test]
    fn the_parsers_must_see_the_same_structure_and_the_same_text() {
        assert!(settled("[a, b]").is_ok());
        for other in ["[a, c]", "[a]", "[a, b, c]", "{a: b}", "[a, [b]]", "a"] {
            assert!(settled(other).unwrap_err().message.starts_with("ambiguous"), "{other}");
        }
    }
}
