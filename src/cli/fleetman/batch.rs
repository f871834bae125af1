//! One verb for several cells: listed, asked for once, done one after the other, told at the end.

use std::fmt::Display;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::{ErrorBody, Failure};
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::model::CellId;

/// What is about to be done to some cells.
pub(super) struct Batch<'a> {
    context: &'a Context,
    cells: Vec<CellId>,
    interrupted: CancellationToken,
}

/// What came of it.
pub(super) struct Ran<T> {
    pub(super) done: Vec<(CellId, T)>,
    failed: Vec<(CellId, Failure)>,
    /// Cells that were not begun with, or in the middle of which the verb was interrupted.
    left: Vec<CellId>,
}

/// What the same command would do once more to the cells that it was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing: they are as it wants them.
    Nothing,
    /// The same again, or the reverse: whoever repeats it must name the others alone.
    Something,
}

/// A cell's part of the report.
#[derive(Debug, Serialize)]
struct CellReport<'a, T> {
    cell: &'a CellId,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

impl<'a> Batch<'a> {
    /// Lists what will be done, one line a cell, and asks.
    ///
    /// # Errors
    /// When the answer is no, or nobody can answer.
    pub(super) fn ask(
        context: &'a Context,
        intent: &str,
        cells: Vec<CellId>,
        yes: bool,
        interrupted: CancellationToken,
    ) -> Result<Self, Failure> {
        for cell in &cells {
            context.output.say(&format!("{intent} {cell}"));
        }
        let question =
            if cells.len() == 1 { "Go ahead?".to_owned() } else { format!("Go ahead with {} cells?", cells.len()) };
        ask::confirm(&question, yes)?;
        Ok(Self::agreed(context, cells, interrupted))
    }

    /// The same where it was listed and asked for already.
    pub(super) fn agreed(context: &'a Context, cells: Vec<CellId>, interrupted: CancellationToken) -> Self {
        Self { context, cells, interrupted }
    }

    /// Does `work` to each cell. A failure does not keep it from the others.
    pub(super) async fn run<T>(self, work: impl AsyncFn(&CellId) -> Result<T, Failure>) -> Ran<T> {
        let mut ran = Ran { done: Vec::new(), failed: Vec::new(), left: Vec::new() };
        let several = self.cells.len() > 1;
        for cell in self.cells {
            // Whatever is cut off here, the same command finishes: a change counts from one single write on.
            let result = tokio::select! {
                biased;
                () = self.interrupted.cancelled() => None,
                result = work(&cell) => Some(result),
            };
            match result {
                Some(Ok(result)) => ran.done.push((cell, result)),
                Some(Err(failure)) => {
                    if several {
                        self.context.output.say(&format!("{cell}: {}", failure.for_people()));
                    }
                    ran.failed.push((cell, failure));
                }
                None => ran.left.push(cell),
            }
        }
        ran
    }
}

impl<T: Serialize + Display> Ran<T> {
    /// Tells what was done and what was not, and how the command ends.
    ///
    /// # Errors
    /// The failure of the one cell that there was.
    pub(super) fn finish(mut self, output: Output, again: Again) -> Result<Exit, Failure> {
        if self.done.is_empty() && self.left.is_empty() && self.failed.len() == 1 {
            // One cell: its own failure says more than that something failed.
            return self.failed.pop().map_or(Ok(Exit::Ok), |(_, failure)| Err(failure));
        }
        let done =
            self.done.iter().map(|(cell, result)| CellReport { cell, done: true, result: Some(result), error: None });
        let failed = self.failed.iter().map(|(cell, failure)| CellReport {
            cell,
            done: false,
            result: None,
            error: Some(failure.body()),
        });
        let left = self.left.iter().map(|cell| CellReport { cell, done: false, result: None, error: None });
        let reports: Vec<CellReport<'_, T>> = done.chain(failed).chain(left).collect();
        output.show(&reports, |output| {
            let mut rows = Rows::new(output, &["cell", "", "result"]);
            for report in &reports {
                let (mark, tone, result) = match (report.result, &report.error) {
                    (Some(result), _) => ("done", Tone::Good, result.to_string()),
                    (None, Some(error)) => ("failed", Tone::Bad, error.code.to_owned()),
                    (None, None) => ("left", Tone::Warn, "interrupted before it was done".to_owned()),
                };
                rows.row([report.cell.into(), Shown::from(mark).toned(tone), result.into()]);
            }
            rows.render()
        })?;
        let all = self.done.len() + self.failed.len() + self.left.len();
        if self.done.len() < all {
            let rest = match again {
                Again::Something if !self.done.is_empty() => {
                    let rest = self.failed.iter().map(|(cell, _)| cell).chain(&self.left);
                    let rest: Vec<String> = rest.map(ToString::to_string).collect();
                    format!("do not repeat it for those, but for the rest alone: {}", rest.join(" "))
                }
                _ => "the same command again does the rest".to_owned(),
            };
            output.say(&format!("{} of {all} done; {rest}", self.done.len()));
        }
        Ok(match (self.left.is_empty(), self.failed.is_empty()) {
            (false, _) => Exit::Interrupted,
            (true, false) => Exit::Failed,
            (true, true) => Exit::Ok,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    fn ended(done: usize, failed: usize, left: usize) -> Result<Exit, Exit> {
        let mut cells = (1..).map(|n| format!("n{n}/web").parse::<CellId>().unwrap());
        let ran = Ran {
            done: cells.by_ref().take(done).map(|cell| (cell, "done".to_owned())).collect(),
            failed: cells.by_ref().take(failed).map(|cell| (cell, Failure::usage("no"))).collect(),
            left: cells.take(left).collect(),
        };
        ran.finish(Output::plain(Format::Json), Again::Nothing).map_err(|failure| failure.exit)
    }

    #[test]
    fn how_a_batch_ends_says_whether_all_of_it_was_done() {
        assert_eq!(ended(2, 0, 0), Ok(Exit::Ok));
        assert_eq!(ended(1, 1, 0), Ok(Exit::Failed));
        assert_eq!(ended(0, 2, 0), Ok(Exit::Failed));
        assert_eq!(ended(1, 1, 1), Ok(Exit::Interrupted));
        assert_eq!(ended(0, 0, 1), Ok(Exit::Interrupted));
        assert_eq!(ended(0, 1, 0), Err(Exit::Usage), "one cell fails with its own code");
    }
}
