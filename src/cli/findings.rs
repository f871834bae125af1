//! What a doctor found, for both programs.

use std::fmt::Write as _;

use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Tone};
use crate::model::fleet::{Finding, Verdict};
use crate::model::text;

/// Findings as people read them: a mark, what was looked at, what was seen, what to do.
pub(super) fn table(findings: &[Finding], output: Output) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut shown = String::new();
    for Finding { check, verdict, message, help } in findings {
        let (mark, tone) = match verdict {
            Verdict::Ok => ("ok     ", Tone::Good),
            Verdict::Warning => ("warning", Tone::Warn),
            Verdict::Failed => ("failed ", Tone::Bad),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(shown, "{}  {:<width$}  {}", output.paint(tone, mark), text::line(check), text::line(message));
        if let Some(help) = help {
            let _ = writeln!(shown, "         {:<width$}  → {}", "", text::line(help));
        }
    }
    shown.trim_end().to_owned()
}

/// The exit code of a doctor who found this.
pub(super) fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().any(|finding| finding.verdict == Verdict::Failed) { Exit::Negative } else { Exit::Ok }
}

/// The finding that a check came to: what was seen, or the failure with its hint.
pub(super) fn of(check: &str, result: Result<String, Failure>) -> Finding {
    let (verdict, message, help) = match result {
        Ok(message) => (Verdict::Ok, message, None),
        Err(failure) => (Verdict::Failed, failure.message().to_owned(), failure.hint().map(str::to_owned)),
    };
    Finding { check: check.to_owned(), verdict, message, help }
}

/// A finding that is no failure and still wants to be read.
pub(super) fn warning(check: &str, message: impl Into<String>, help: Option<String>) -> Finding {
    Finding { check: check.to_owned(), verdict: Verdict::Warning, message: message.into(), help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    #[test]
    fn one_failure_is_enough_for_a_no_and_hostile_text_is_harmless() {
        let good = of("clock", Ok("2 s apart\u{1b}[2J".to_owned()));
        assert_eq!(exit(std::slice::from_ref(&good)), Exit::Ok);
        assert_eq!(exit(&[warning("w", "x", None)]), Exit::Ok);
        let bad = of("bucket", Err(Failure::usage("no such bucket").help("create it")));
        assert_eq!(exit(&[good.clone(), bad.clone()]), Exit::Negative);
        assert_eq!(
            table(&[good, bad], Output::plain(Format::Table)),
            "ok       clock   2 s apart�[2J\nfailed   bucket  no such bucket\n                 → create it"
        );
    }
}
