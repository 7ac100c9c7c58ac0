//! Ways to look at what happens: watches that are cut at any byte, lists by pages, streaming lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use serde_json::Value;

use super::{Chance, END, version_of};

/// Whom to ask, and for what.
pub(super) type Place = (reqwest::Client, String);

/// What somebody saw of everything, at one version.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) version: u64,
    /// Names and states.
    pub(super) objects: BTreeMap<String, String>,
}

/// Names and states of the objects of a list.
pub(super) fn objects_of(list: &Value) -> BTreeMap<String, String> {
    list["items"].as_array().unwrap().iter().map(object).collect()
}

fn object(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["metadata"]["name"]), text(&object["status"]["state"]))
}

/// Watches from `start` on, loses the connection at any byte, and goes on from the last whole
/// line, bookmarks included; until the end. The events as words. A watch that is not cut must end
/// by itself, at its deadline.
pub(super) async fn cut_again_and_again(
    (client, base): Place,
    start: u64,
    mut chance: Chance,
) -> Vec<String> {
    let mut version = start;
    let mut words = Vec::new();
    let mut is_over = false;
    while !is_over {
        let url = format!(
            "{base}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={version}"
        );
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut bytes_left = 1 + chance.below(200_000) as usize;
        let mut body = response.bytes_stream();
        let mut rest: Vec<u8> = Vec::new();
        // Whoever has seen the end reads on, until the watch ends.
        while (bytes_left > 0 || is_over)
            && let Some(part) = body.next().await
        {
            let part = part.expect("a watch ends cleanly");
            let n = if is_over { part.len() } else { part.len().min(bytes_left) };
            rest.extend_from_slice(&part[..n]);
            bytes_left = bytes_left.saturating_sub(n);
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=at).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                let next = version_of(&event["object"]);
                let (kind, name) = (event["type"].as_str().unwrap(), object(&event["object"]).0);
                if kind == "BOOKMARK" {
                    version = version.max(next);
                    continue;
                }
                assert!(next > version, "{next} after {version}: {event}");
                version = next;
                words.push(format!("{version} {kind} {name}"));
                is_over |= name == END;
            }
        }
    }
    words
}

/// Reads everything by pages of any size, again and again.
pub(super) async fn page_again_and_again(
    (client, base): Place,
    stop: Arc<AtomicBool>,
    mut chance: Chance,
) -> Vec<Looked> {
    let mut looked = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let limit = 1 + chance.below(12);
        let (mut token, mut version) = (String::new(), None);
        let mut objects = BTreeMap::new();
        loop {
            let url = format!("{base}?limit={limit}{token}");
            let page: Value = client.get(url).send().await.unwrap().json().await.unwrap();
            let of_page = version_of(&page);
            assert_eq!(*version.get_or_insert(of_page), of_page, "all pages are of one version");
            assert!(page["items"].as_array().unwrap().len() <= limit as usize);
            for (name, state) in objects_of(&page) {
                assert_eq!(objects.insert(name, state), None, "an object twice");
            }
            match page["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => token = format!("&continue={more}"),
                _ => break,
            }
        }
        let version = version.unwrap();
        let exact = format!("{base}?resourceVersion={version}&resourceVersionMatch=Exact");
        let exact: Value = client.get(exact).send().await.unwrap().json().await.unwrap();
        // A snapshot may have been forgotten since; what is answered must be it.
        if exact["kind"] != "Status" {
            assert_eq!(objects_of(&exact), objects, "the list at {version}");
        }
        looked.push(Looked { version, objects });
    }
    looked
}

/// Opens streaming lists, one after the other, and reads each a little further than its set.
pub(super) async fn stream_again_and_again(
    (client, base): Place,
    stop: Arc<AtomicBool>,
) -> Vec<Looked> {
    let mut looked = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let url = format!(
            "{base}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
             &allowWatchBookmarks=true&timeoutSeconds=1"
        );
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        let mut objects = BTreeMap::new();
        let mut version = None;
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let of_event = version_of(&event["object"]);
            if let Some(version) = version {
                let is_bookmark = event["type"] == "BOOKMARK";
                assert!(of_event > version || is_bookmark, "{of_event} after {version}");
                continue;
            }
            if event["type"] == "BOOKMARK" {
                let end = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
                assert_eq!(end, "true", "{event}");
                version = Some(of_event);
                continue;
            }
            assert_eq!(event["type"], "ADDED", "nothing else before the set is whole");
            let (name, state) = object(&event["object"]);
            assert_eq!(objects.insert(name, state), None, "an object twice");
        }
        looked.push(Looked { version: version.expect("the end of the set is told"), objects });
    }
    looked
}
