// SPDX-License-Identifier: MIT
//! Rule files behind links, and files that rules name, are watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use l7switch::Options;
use l7switch::Switch;
use l7switch::watch::Watch;

use crate::support::address;
use crate::support::get;
use crate::support::placed;
use crate::support::until;

/// Rules whose only answer is this text.
async fn saying(text: &str) -> String {
    let rules = "[service.web]\nlisten = \"127.0.0.1:1\"\n\
                 [[service.web.route]]\nrespond = { status = 200, body = \"TEXT\" }\n";
    placed(rules).await.replace("TEXT", text)
}

fn watched(path: &Path) -> (Arc<Switch>, Watch) {
    let rules = l7switch_rules::load(path).unwrap();
    let switch = Switch::start(rules, Some(path.to_owned()), &Options::default()).unwrap();
    let watch = Watch::start(&switch, path).unwrap();
    (switch, watch)
}

async fn until_reloaded(switch: &Switch, times: u64) {
    until(|| switch.reload_status().succeeded == times).await;
}

/// Replaces a link as those do whose readers must never find none.
fn relink(target: impl AsRef<Path>, link: &Path) {
    let fresh = link.with_file_name("fresh");
    symlink(target, &fresh).unwrap();
    fs::rename(&fresh, link).unwrap();
}

/// Kubernetes: the file is a link into `..data`, which is a link to a folder that is made anew each time.
async fn config_map(rules: impl Fn(&Path) -> std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let first = saying("0").await;
    let make = |number: u64| {
        let name = format!("..2026_{number}");
        fs::create_dir(root.join(&name)).unwrap();
        let text = first.replace("\"0\"", &format!("\"{number}\""));
        fs::write(root.join(&name).join("rules.toml"), text).unwrap();
        relink(&name, &root.join("..data"));
    };
    make(0);
    symlink("..data/rules.toml", root.join("rules.toml")).unwrap();
    let (switch, _watch) = watched(&rules(root));
    let web = address(&switch, "web");
    for number in 1..=5 {
        make(number);
        until_reloaded(&switch, number).await;
        assert_eq!(get(web, "/").await.2, number.to_string().as_bytes());
        fs::remove_dir_all(root.join(format!("..2026_{}", number - 1))).unwrap();
    }
    assert_eq!(switch.reload_status().refused, 0);
}

#[tokio::test]
async fn a_config_map_is_seen_again_and_again() {
    config_map(|root| root.join("rules.toml")).await;
}

#[tokio::test]
async fn a_config_map_as_a_folder_is_seen_again_and_again() {
    config_map(Path::to_owned).await;
}

/// A link to a release, in the middle of the way.
#[tokio::test]
async fn a_release_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let first = saying("1").await;
    for number in ["1", "2", "3"] {
        fs::create_dir_all(root.join("releases").join(number).join("etc")).unwrap();
        let text = first.replace("\"1\"", &format!("\"{number}\""));
        let path = root.join("releases").join(number).join("etc/rules.toml");
        fs::write(path, text).unwrap();
    }
    relink("releases/1", &root.join("current"));
    let (switch, _watch) = watched(&root.join("current/etc/rules.toml"));
    let web = address(&switch, "web");
    for (number, times) in [("2", 1), ("3", 2), ("1", 3)] {
        relink(root.join("releases").join(number), &root.join("current"));
        until_reloaded(&switch, times).await;
        assert_eq!(get(web, "/").await.2, number.as_bytes());
    }
    // The file itself, where the link leads now.
    let path = root.join("releases/1/etc/rules.toml");
    fs::write(path, first.replace("\"1\"", "\"4\"")).unwrap();
    until_reloaded(&switch, 4).await;
    assert_eq!(get(web, "/").await.2, b"4");
}

/// What stands beside is nobody's, and a folder that is busy keeps nobody from looking.
#[tokio::test]
async fn files_that_the_rules_name_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let pages = tempfile::tempdir().unwrap();
    let page = pages.path().join("page.html");
    fs::write(&page, "first").unwrap();
    let rules = saying("x").await;
    let rules = rules.replace("body = \"x\"", &format!("file = {page:?}"));
    let path = folder.path().join("rules.toml");
    fs::write(&path, &rules).unwrap();
    let (switch, _watch) = watched(&path);
    let web = address(&switch, "web");
    fs::write(pages.path().join("other.html"), "other").unwrap();
    fs::write(&page, "second").unwrap();
    until_reloaded(&switch, 1).await;
    assert_eq!(get(web, "/").await.2, b"second");
    // One that is named by the new rules only.
    let other = pages.path().join("other.html");
    fs::write(&path, rules.replace("page.html", "other.html")).unwrap();
    until_reloaded(&switch, 2).await;
    assert_eq!(get(web, "/").await.2, b"other");
    fs::write(&other, "another").unwrap();
    until_reloaded(&switch, 3).await;
    assert_eq!(get(web, "/").await.2, b"another");
    // The one before is nobody's now.
    fs::write(&page, "third").unwrap();
    fs::write(&other, "the last").unwrap();
    until_reloaded(&switch, 4).await;
    assert_eq!(get(web, "/").await.2, b"the last");
}

/// The folder of a file is taken away, and comes back.
#[tokio::test]
async fn a_folder_that_comes_back_is_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    let page = pages.join("page.html");
    fs::create_dir(&pages).unwrap();
    fs::write(&page, "first").unwrap();
    let rules = saying("x").await;
    let path = folder.path().join("rules.toml");
    fs::write(
        &path,
        rules.replace("body = \"x\"", &format!("file = {page:?}")),
    )
    .unwrap();
    let (switch, _watch) = watched(&path);
    let web = address(&switch, "web");
    for text in ["second", "third"] {
        let refused = switch.reload_status().refused;
        fs::remove_dir_all(&pages).unwrap();
        until(|| switch.reload_status().refused > refused).await;
        fs::create_dir(&pages).unwrap();
        fs::write(&page, text).unwrap();
        crate::support::soon(async {
            while get(web, "/").await.2 != text.as_bytes() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}
