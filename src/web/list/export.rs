//! A whole list for other programs: CSV and JSON, row by row, so that none is ever in memory whole.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Serialize;

use crate::model::csv::record;
use crate::web::download;

/// So many rows are written at once.
const AT_ONCE: usize = 500;

/// What a browser saves a list as, under the names of its columns.
pub(in crate::web) fn csv(
    name: &str,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>> + Send + 'static,
) -> Response {
    let body = in_parts(record(head), rows.map(record), String::new());
    download::saved("text/csv; charset=utf-8; header=present", &format!("{name}.csv"), body)
}

/// The list as the API shows it. `at` is when it was read, if it was read in the background.
pub(in crate::web) fn json<T: Serialize>(
    at: Option<DateTime<Utc>>,
    rows: impl Iterator<Item = T> + Send + 'static,
) -> Response {
    let at = at.and_then(|at| serde_json::to_string(&at).ok());
    let last = format!("]{}}}\n", at.map(|at| format!(",\"snapshot_at\":{at}")).unwrap_or_default());
    let rows = rows.filter_map(|row| serde_json::to_string(&row).ok()).enumerate();
    let rows = rows.map(|(place, row)| if place == 0 { row } else { format!(",{row}") });
    let body = in_parts("{\"items\":[".to_owned(), rows, last);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn in_parts(first: String, mut rows: impl Iterator<Item = String> + Send + 'static, last: String) -> Body {
    let mut text = first;
    let mut last = Some(last);
    Body::from_stream(stream::iter(std::iter::from_fn(move || {
        last.as_ref()?;
        let before = text.len();
        text.extend(rows.by_ref().take(AT_ONCE));
        if text.len() == before {
            text.push_str(&last.take()?);
        }
        Some(Ok::<_, std::convert::Infallible>(Bytes::from(std::mem::take(&mut text))))
    })))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use serde_json::{Value, json};

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.into()).unwrap()
    }

    #[tokio::test]
    async fn a_list_of_any_length_is_whole() {
        let at = Utc.with_ymd_and_hms(2026, 1, 2, 4, 0, 0).unwrap();
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let csv = text(csv("x", &["n"], (0..count).map(|row| vec![row.to_string()]))).await;
            let lines: Vec<&str> = csv.lines().collect();
            assert_eq!((lines.len(), lines[0]), (count + 1, "n"));
            let list: Value = serde_json::from_str(&text(json(Some(at), 0..count)).await).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), count);
            assert_eq!(list["snapshot_at"], json!("2026-01-02T04:00:00Z"));
            let list: Value = serde_json::from_str(&text(json(None, 0..count)).await).unwrap();
            assert_eq!((list["items"].as_array().unwrap().len(), list.get("snapshot_at")), (count, None));
        }
    }
}
