//! Looking for records that a crash left open: nothing that is still there may be taken for gone.

use super::*;

async fn whole(store: &Arc<dyn Store>) -> Option<String> {
    let (sender, mut receiver) = mpsc::channel(64);
    let query = Query { bound: None, whole: true, now: now(), seen: Arc::default() };
    let scanned = store.scan("data", query, sender).await.unwrap();
    while receiver.recv().await.is_some() {}
    scanned.incomplete
}

#[tokio::test]
async fn a_search_that_passes_a_link_or_a_special_file_by_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (dir.path().join("root"), dir.path().join("elsewhere"));
    let key = "cam-1/2020-01-01/a.mp4";
    write(&root, key);
    let store = store(&root, FOOTAGE);
    assert_eq!(whole(&store).await, None);
    // The folder was moved to a larger disk, and a link put in its place.
    std::fs::rename(root.join("cam-1"), &elsewhere).unwrap();
    symlink(&elsewhere, root.join("cam-1")).unwrap();
    assert!(whole(&store).await.is_some_and(|why| why.contains("cam-1")));
    assert_eq!(scan(&store).await, [], "a scan for a plan goes on without it");
    std::fs::remove_file(root.join("cam-1")).unwrap();
    write(&root, "cam-1/2020-01-01/b.mp4");
    symlink("b.mp4", root.join(key)).unwrap();
    assert!(whole(&store).await.is_some_and(|why| why.contains("a.mp4")));
}

#[tokio::test]
async fn a_record_that_goes_with_another_one_by_now_is_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.jpg");
    let store = store(dir.path(), r#"{ path: "*", events: { changed: modified }, companions: ["{stem}.jpg"] }"#);
    assert_eq!(keys(&scan(&store).await), ["a.jpg"]);
    write(dir.path(), "a.mp4");
    let found = store.fetch("data", &[Key::new(b"a.jpg".as_slice())]).await.unwrap();
    assert!(matches!(found[..], [Found::Outside(_)]), "{found:?}");
    std::fs::remove_file(path).unwrap();
    assert!(matches!(store.fetch("data", &[Key::new(b"a.jpg".as_slice())]).await.unwrap()[..], [Found::Absent]));
}
