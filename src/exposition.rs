//! Figures for monitoring, as the text that Prometheus reads: exposition format 0.0.4.
//!
//! Not OpenMetrics, which is what client libraries for Rust write: the textfile collector of node_exporter reads only
//! this form, and takes the other's counters for values of no type.

use std::fmt::Write as _;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric: what it is called, what it counts, and how.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Metric {
    /// A value that only grows, apart from a new start; its name ends in `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: "counter", help }
    }

    /// A value that comes and goes.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: "gauge", help }
    }

    /// How many of something were how large.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: "histogram", help }
    }
}

/// The text, as it grows.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a metric. It is named even if nothing is said of it, so that readers can tell nothing from unknown.
    pub fn metric(&mut self, metric: &Metric) -> Samples<'_> {
        let Metric { name, kind, help } = *metric;
        self.line(format_args!(
            "# HELP {name} {}\n# TYPE {name} {kind}",
            help.replace('\\', r"\\").replace('\n', r"\n")
        ));
        Samples { text: self, name }
    }

    /// All that was said.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let mut within = String::new();
        for (label, value) in labels {
            let separator = if within.is_empty() { "{" } else { "," };
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            let _ = write!(within, "{separator}{label}=\"{value}\"");
        }
        if !within.is_empty() {
            within.push('}');
        }
        self.line(format_args!("{name}{suffix}{within} {value}"));
    }
}

/// What is said of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut Exposition,
    name: &'static str,
}

impl Samples<'_> {
    /// A value under these labels, which no other value of the metric has.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.sample(self.name, "", labels, value);
    }

    /// The same for what is counted.
    pub fn count(&mut self, labels: &[(&str, &str)], count: u64) {
        self.value(labels, number(count));
    }

    /// A value that is not there where it is not known.
    pub fn maybe(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        value.into_iter().for_each(|value| self.value(labels, value));
    }

    /// The buckets, the sum and the count of a histogram.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut bucket = |bound: &str, count: u64| {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            self.text.sample(self.name, "_bucket", &labels, number(count));
        };
        let mut count = 0;
        for (bound, more) in histogram.bounds.iter().zip(&histogram.counts) {
            count += more;
            bucket(&bound.to_string(), count);
        }
        count += histogram.beyond;
        bucket("+Inf", count);
        self.text.sample(self.name, "_sum", labels, histogram.sum);
        self.text.sample(self.name, "_count", labels, number(count));
    }
}

/// Prometheus knows no other numbers: a count beyond 2^53 loses its last digits.
fn number(count: u64) -> f64 {
    count as f64
}

/// How many values were how large.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Values up to each bound that are above the one before it.
    counts: Vec<u64>,
    beyond: u64,
    sum: f64,
}

impl Histogram {
    /// An empty one; `bounds` grow.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], beyond: 0, sum: 0.0 }
    }

    /// Takes in a value.
    pub fn observe(&mut self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        *place.and_then(|place| self.counts.get_mut(place)).unwrap_or(&mut self.beyond) += 1;
        self.sum += value;
    }

    /// How many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// The bound that this share of the values is not above, of 1; infinite if they are above the last one. None of no
    /// values.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is one")]
    pub fn bound_of(&self, share: f64) -> Option<f64> {
        let wanted = (number(self.total()) * share).ceil().max(1.0) as u64;
        let mut count = 0;
        let bounds = self.bounds.iter().copied().zip(&self.counts);
        let reached = bounds.map(|(bound, more)| {
            count += more;
            (bound, count)
        });
        let bound = reached.filter(|(_, count)| *count >= wanted).map(|(bound, _)| bound).next();
        (self.total() > 0).then(|| bound.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_cannot_break_out_of_their_label() {
        let mut text = Exposition::default();
        text.metric(&Metric::gauge("a", "back\\slash\nand line")).value(&[("b", "\"} 1\n\\"), ("c", "d")], 0.5);
        let expected = "# HELP a back\\\\slash\\nand line\n# TYPE a gauge\na{b=\"\\\"} 1\\n\\\\\",c=\"d\"} 0.5\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_share_of_the_values_is_below_a_bound() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        assert_eq!((histogram.total(), histogram.bound_of(0.5)), (0, None));
        for value in [0.05, 0.1, 0.5, 7.0] {
            histogram.observe(value);
        }
        let bounds = [0.0, 0.5, 0.51, 0.75, 0.99].map(|share| histogram.bound_of(share).unwrap());
        assert_eq!(bounds, [0.1, 0.1, 1.0, 1.0, f64::INFINITY]);
    }

    #[test]
    fn buckets_hold_everything_up_to_their_bound() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for value in [0.05, 0.1, 0.5, 7.0] {
            histogram.observe(value);
        }
        let mut text = Exposition::default();
        text.metric(&Metric::histogram("took_seconds", "How long.")).histogram(&[("way", "up")], &histogram);
        let lines: Vec<String> = text.into_text().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                r#"took_seconds_bucket{way="up",le="0.1"} 2"#,
                r#"took_seconds_bucket{way="up",le="1"} 3"#,
                r#"took_seconds_bucket{way="up",le="+Inf"} 4"#,
                r#"took_seconds_sum{way="up"} 7.65"#,
                r#"took_seconds_count{way="up"} 4"#,
            ]
        );
    }
}
