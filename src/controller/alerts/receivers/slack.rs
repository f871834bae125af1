//! What Slack takes at an incoming webhook, and Mattermost, Rocket.Chat and others like it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::json;

use super::{Letter, fate, text};
use crate::controller::alerts::batch::Fate;
use crate::outbound::Client;

pub(super) async fn send(client: &Client, url: &Uri, letter: &Letter<'_>) -> Fate {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let body = Bytes::from(body(letter).to_string());
    fate(client.ask(url, Method::POST, headers, body).await.map(|(status, _)| status))
}

fn body(letter: &Letter<'_>) -> serde_json::Value {
    let text = format!("*{}*\n{}", text::headline(letter), text::body(letter, quoted));
    // A link in a stranger's words is neither fetched nor shown large.
    json!({"text": text, "unfurl_links": false, "unfurl_media": false})
}

/// A stranger's words as code, in which nothing is markup: no link, no mention. Backticks would end it, and the three
/// characters that Slack reads everywhere are written as it asks.
fn quoted(words: &str) -> String {
    let words = words.replace('`', "'").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("`{words}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::alerts::tests::letter_about;

    #[test]
    fn a_strangers_words_are_no_markup() {
        let body = letter_about("<!channel> `*b*` <http://evil|ok> & @all\n> x\u{1b}[2J", body);
        let text = body["text"].as_str().unwrap();
        let line = text.lines().find(|line| line.starts_with("- warning")).unwrap();
        let words = "`&lt;!channel&gt; '*b*' &lt;http://evil|ok&gt; &amp; @all�&gt; x�[2J`";
        assert!(line.ends_with(words), "{line}");
        assert_eq!(text.lines().next(), Some("*cell n1/web: rolled back*"));
    }
}
