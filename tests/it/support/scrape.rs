//! What a program tells Prometheus, read as strictly as the format (0.0.4) and Prometheus' own conventions say.

use std::collections::{BTreeMap, BTreeSet};

/// A value's labels.
type Labels = BTreeMap<String, String>;

/// Metrics by name.
#[derive(Debug, Default)]
pub(crate) struct Scrape(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    /// Panics over whatever is not as it should be.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut lines = text.lines().peekable();
        assert!(text.ends_with('\n'), "the last line does not end");
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
            assert!(help.ends_with('.'), "{line}: no sentence");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(name);
            check_name(name, kind);
            let mut family = Family { kind: kind.to_owned(), samples: Vec::new() };
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                family.samples.push(sample(name, kind, line));
            }
            family.check(name);
            assert!(scrape.0.insert(name.to_owned(), family).is_none(), "{name} comes twice");
        }
        scrape
    }

    /// Each metric and its type.
    pub(crate) fn names(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect()
    }

    /// The labels that values of the metric have.
    pub(crate) fn labels(&self, name: &str) -> BTreeSet<String> {
        self.0[name].samples.iter().flat_map(|(_, labels, _)| labels.keys().cloned()).collect()
    }

    /// The value under exactly these labels. Of a histogram `name` ends in `_count` or `_sum`.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let family = name.trim_end_matches("_count").trim_end_matches("_sum");
        let samples = self.0.get(name).or_else(|| self.0.get(family))?.samples.iter();
        let mut found = samples.filter(|(of, labels, _)| of == name && *labels == wanted);
        found.next().map(|(.., value)| *value)
    }
}

impl Family {
    fn check(&self, name: &str) {
        let mut seen = BTreeSet::new();
        for (of, labels, _) in &self.samples {
            assert!(seen.insert((of, labels)), "{of} {labels:?} comes twice");
        }
        for (_, labels, count) in self.samples.iter().filter(|(of, ..)| *of == format!("{name}_count")) {
            let buckets: Vec<(&str, f64)> = self
                .samples
                .iter()
                .filter_map(|(_, of, value)| {
                    let mut of = of.clone();
                    let bound = of.remove("le")?;
                    (of == *labels).then(|| (bound.leak() as &str, *value))
                })
                .collect();
            let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| bound.parse().unwrap()).collect();
            assert!(bounds.is_sorted() && buckets.is_sorted_by_key(|(_, count)| *count), "{name}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&("+Inf", *count)), "{name}");
        }
    }
}

/// Names say what is counted and in which unit, as <https://prometheus.io/docs/practices/naming/> asks.
fn check_name(name: &str, kind: &str) {
    assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
    assert!(name.starts_with("fleetman_") || name.starts_with("fleetagent_"), "{name} does not say whose it is");
    assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    for unit in ["_ms", "_millis", "_minutes", "_kb", "_percent", "_secs"] {
        assert!(!name.contains(unit), "{name} is not in a base unit");
    }
    let timed = ["age", "duration", "skew", "timestamp", "time"];
    if name.split('_').any(|word| timed.contains(&word)) {
        assert!(name.ends_with("_seconds"), "{name} does not say its unit");
    }
}

fn sample(name: &str, kind: &str, line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let (of, labels) = match series.split_once('{') {
        Some((of, labels)) => (of, labels.strip_suffix('}').expect(line)),
        None => (series, ""),
    };
    let ends: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(ends.iter().any(|end| of == format!("{name}{end}")), "{line} is not of {name}");
    (of.to_owned(), read_labels(labels), value.parse().expect(line))
}

fn read_labels(mut text: &str) -> Labels {
    let mut labels = Labels::new();
    while !text.is_empty() {
        let (label, rest) = text.split_once("=\"").expect(text);
        assert!(label.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{label}");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in rest.char_indices() {
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (true, 'n') => (value, escaped) = (value + "\n", false),
                (_, c) => {
                    value.push(c);
                    escaped = false;
                }
            }
        }
        let rest = &rest[end.expect("the value ends") + 1..];
        text = rest.strip_prefix(',').unwrap_or(rest);
        assert!(labels.insert(label.to_owned(), value).is_none(), "{label} comes twice");
    }
    labels
}
