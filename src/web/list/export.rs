//! A whole list for other programs: CSV and JSON, row by row, so that none is ever in memory whole.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

use crate::controller::FleetView;
use crate::model::text::steers;

/// So many rows are written at once.
const AT_ONCE: usize = 500;

/// What a browser saves a list as. `rows` are places in `view`, for `write` to find them.
pub(in crate::web) fn csv<R: Copy + Send + 'static>(
    name: &'static str,
    head: &'static [&'static str],
    view: Arc<FleetView>,
    rows: Vec<R>,
    write: impl Fn(&FleetView, R) -> Option<Vec<String>> + Send + 'static,
) -> Response {
    let first = line(&head.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let body = in_parts(view, rows, first, String::new(), move |view, row, text| {
        text.push_str(&write(view, row).map(|fields| line(&fields)).unwrap_or_default());
    });
    let saved = format!("attachment; filename=\"{name}.csv\"");
    let saved = HeaderValue::from_str(&saved).unwrap_or(HeaderValue::from_static("attachment"));
    (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
            (header::CONTENT_DISPOSITION, saved),
        ],
        body,
    )
        .into_response()
}

/// The list as the API shows it.
pub(in crate::web) fn json<R: Copy + Send + 'static, T: Serialize>(
    view: Arc<FleetView>,
    rows: Vec<R>,
    write: impl Fn(&FleetView, R) -> Option<T> + Send + 'static,
) -> Response {
    let last = format!("],\"snapshot_at\":{}}}\n", serde_json::to_string(&view.at).unwrap_or_default());
    let mut is_first = true;
    let body = in_parts(view, rows, "{\"items\":[".to_owned(), last, move |view, row, text| {
        let Some(row) = write(view, row).and_then(|row| serde_json::to_string(&row).ok()) else { return };
        if !std::mem::take(&mut is_first) {
            text.push(',');
        }
        text.push_str(&row);
    });
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn in_parts<R: Copy + Send + 'static>(
    view: Arc<FleetView>,
    rows: Vec<R>,
    first: String,
    last: String,
    mut write: impl FnMut(&FleetView, R, &mut String) + Send + 'static,
) -> Body {
    let mut done = 0;
    let mut last = Some(last);
    let mut text = first;
    Body::from_stream(stream::iter(std::iter::from_fn(move || {
        let part = rows.get(done..(done + AT_ONCE).min(rows.len()))?;
        done += part.len();
        for row in part {
            write(&view, *row, &mut text);
        }
        if part.is_empty() {
            text.push_str(&last.take()?);
        }
        Some(Ok::<_, std::convert::Infallible>(Bytes::from(std::mem::take(&mut text))))
    })))
}

/// A line of CSV (RFC 4180). What a spreadsheet would take for a formula is made a text, and what steers is left out:
/// strangers wrote it.
fn line(fields: &[String]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| {
            let plain: String = field.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect();
            let guard = if plain.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
            if guard.is_empty() && !plain.contains([',', '"']) {
                return plain;
            }
            format!("\"{guard}{}\"", plain.replace('"', "\"\""))
        })
        .collect();
    format!("{}\r\n", fields.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::fleet_sample::fleet;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.into()).unwrap()
    }

    #[tokio::test]
    async fn a_list_of_any_length_is_whole() {
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let view = || Arc::new(fleet(Vec::new()));
            let rows = || (0..count).collect::<Vec<_>>();
            let csv = text(csv("x", &["n"], view(), rows(), |_, row| Some(vec![row.to_string()]))).await;
            let lines: Vec<&str> = csv.lines().collect();
            assert_eq!((lines.len(), lines[0]), (count + 1, "n"));
            let json: Value = serde_json::from_str(&text(json(view(), rows(), |_, row| Some(row))).await).unwrap();
            assert_eq!(json["items"].as_array().unwrap().len(), count);
            assert_eq!(json["snapshot_at"], json!("2026-01-02T04:00:00Z"));
        }
    }

    #[test]
    fn what_strangers_wrote_runs_in_no_spreadsheet() {
        let fields = ["=1+1", "-2", "a,b", "say \"x\"", "\u{1b}[2J", "plain"].map(str::to_owned);
        let expected = "\"'=1+1\",\"'-2\",\"a,b\",\"say \"\"x\"\"\",\u{fffd}[2J,plain\r\n";
        assert_eq!(line(&fields), expected);
    }
}
