use super::*;

async fn findings(script: &str, datasets: &str) -> Vec<(Severity, String)> {
    let db = Db::new(script).await;
    let store = db.store(datasets);
    store.check().await.unwrap().into_iter().map(|finding| (finding.severity, finding.message)).collect()
}

async fn expect(script: &str, datasets: &str, expected: &[(Severity, &str)]) {
    let found = findings(script, datasets).await;
    for (severity, part) in expected {
        assert!(found.iter().any(|(s, message)| s == severity && message.contains(part)), "{part}: {found:#?}");
    }
    let blocking = |s: &Severity| *s == Blocks;
    assert_eq!(found.iter().filter(|(s, _)| blocking(s)).count(), expected.iter().filter(|(s, _)| blocking(s)).count(), "{found:#?}");
}

use Severity::{Blocks, Note, Warning};

const PLAIN: &str = "CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on TEXT, name TEXT);";

#[tokio::test]
async fn everything_that_is_wrong_is_reported_at_once() {
    expect(
        PLAIN,
        "  people: { table: people, key: nam, where: \"nosuch = 1\", subject: nmae, events: { end: endedon }, children: [ { table: intervews, key: x }, { table: people2, key: y } ] }\n",
        &[
            (Blocks, "there is no column `nam`; did you mean `name`?"),
            (Blocks, "there is no column `nmae`; did you mean `name`?"),
            (Blocks, "there is no column `endedon`; did you mean `ended_on`?"),
            (Blocks, "children: there is no table `intervews`"),
            (Blocks, "children: there is no table `people2`; did you mean `people`?"),
        ],
    )
    .await;
    expect(
        PLAIN,
        "  people: { table: peple, key: id, events: { end: ended_on } }\n",
        &[(Blocks, "there is no table `peple`; did you mean `people`?")],
    )
    .await;
}

#[tokio::test]
async fn a_sound_dataset_is_described_and_offered_an_index() {
    let script = format!("{PLAIN} INSERT INTO people VALUES (1, '2020-01-01', 'x')");
    expect(&script, PEOPLE, &[(Note, "reads ended_on as ISO date text"), (Note, "CREATE INDEX people_ended_on ON people (ended_on)")])
        .await;
    let found = findings(&format!("{script}; CREATE INDEX e ON people (ended_on)"), PEOPLE).await;
    assert_eq!(found.len(), 1, "{found:?}");
    expect(
        &format!("{PLAIN} INSERT INTO people VALUES (1, '2020-01-01 10:00', 'x')"),
        PEOPLE,
        &[(Note, "ISO date and time"), (Warning, "without offset")],
    )
    .await;
}

#[tokio::test]
async fn dates_that_could_mean_several_things_are_refused_with_what_to_write() {
    let typed = |kind: &str, values: &str| {
        format!("CREATE TABLE people (id INTEGER PRIMARY KEY, ended_on {kind}); INSERT INTO people (ended_on) VALUES {values}")
    };
    let declared = |form: &str| format!("  people: {{ table: people, key: id, events: {{ end: {{ column: ended_on, as: {form} }} }} }}\n");
    expect(&typed("INTEGER", "(1700000000), (NULL)"), PEOPLE, &[(Blocks, "integers, which could mean several things; write `as: unix`")])
        .await;
    expect(&typed("REAL", "(2460000.5)"), PEOPLE, &[(Blocks, "`as: julian`")]).await;
    expect(&typed("TEXT", "('31/12/2020')"), PEOPLE, &[(Blocks, "holds no ISO dates")]).await;
    expect(&typed("DATE", "('2020-01-01'), (20200101)"), PEOPLE, &[(Blocks, "numbers and text mixed")]).await;
    expect(&typed("INTEGER", "(1700000000)"), &declared("unix"), &[]).await;
    expect(&typed("INTEGER", "(1700000000)"), &declared("unix-ms"), &[(Blocks, "`as: unix` if these are seconds")]).await;
    expect(&typed("INTEGER", "(1700000000000)"), &declared("unix-ms"), &[]).await;
    expect(&typed("TEXT", "('1700000000')"), &declared("unix"), &[(Blocks, "declared as seconds since 1970 but holds text")]).await;
    expect(&typed("INTEGER", "(1700000000)"), &declared("date"), &[(Blocks, "but holds numbers")]).await;
}

#[tokio::test]
async fn keys_that_do_not_tell_rows_apart_and_things_that_are_no_tables_are_refused() {
    for key in ["id INTEGER", "id INTEGER, UNIQUE (id, ended_on)", "id INTEGER PRIMARY KEY"] {
        let wrong = !key.ends_with("KEY");
        let table = key.replacen("id INTEGER", "id INTEGER, ended_on TEXT", usize::from(key.contains(','))).replacen(
            "id INTEGER PRIMARY KEY",
            "id INTEGER PRIMARY KEY, ended_on TEXT",
            1,
        );
        let table = if table.contains("ended_on TEXT") { table } else { format!("{table}, ended_on TEXT") };
        let expected: &[(Severity, &str)] = if wrong { &[(Blocks, "neither the primary key nor unique")] } else { &[] };
        expect(&format!("CREATE TABLE people ({table})"), PEOPLE, expected).await;
    }
    let partial = "CREATE TABLE people (id INTEGER, ended_on TEXT); CREATE UNIQUE INDEX u ON people (id) WHERE id > 5";
    expect(partial, PEOPLE, &[(Blocks, "neither the primary key nor unique")]).await;
    expect(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, ended_on TEXT); CREATE VIEW people AS SELECT * FROM t",
        PEOPLE,
        &[(Blocks, "is a view, not a table"), (Blocks, "neither the primary key")],
    )
    .await;
}

#[tokio::test]
async fn a_condition_must_compile_and_may_not_hide_a_string_in_double_quotes() {
    let set = |condition: &str| format!("  people: {{ table: people, key: id, where: '{condition}', events: {{ end: ended_on }} }}\n");
    expect(PLAIN, &set("nosuch = 1"), &[(Blocks, "`where`: SQLite does not accept the statement: no such column: nosuch")]).await;
    expect(PLAIN, &set("name <> \"closed\""), &[(Blocks, "\"closed\" is no column of the table, so SQLite would take it for a string")])
        .await;
    expect(PLAIN, &set("\"name\" = 5 AND name IN (SELECT name FROM people)"), &[]).await;
    expect(PLAIN, &set("count(*) > 1"), &[(Blocks, "`where`: ")]).await;
    let db = Db::new(PLAIN).await;
    for bad in ["1 = 1) OR (1 = 1", "1; DROP TABLE people", "1 -- x", "id = ?"] {
        let problems = db.configure(&set(bad)).err().unwrap();
        assert!(problems[0].contains("expected one SQL expression"), "{problems:?}");
    }
}

#[tokio::test]
async fn what_would_go_with_a_record_uncounted_is_found() {
    let child = |action: &str| format!("{PLAIN} CREATE TABLE kids (p INTEGER REFERENCES people(id) {action}); CREATE INDEX k ON kids (p)");
    let with_kids = "  people: { table: people, key: id, events: { end: ended_on }, children: [ { table: kids, key: p } ] }\n";
    for action in ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE SET DEFAULT"] {
        expect(&child(action), PEOPLE, &[(Blocks, "the table `kids` refers to `people`")]).await;
        expect(&child(action), with_kids, &[]).await;
    }
    expect(&child("ON DELETE RESTRICT"), PEOPLE, &[(Warning, "cannot be deleted; name it under `children:`")]).await;
    let second = format!("{PLAIN} CREATE TABLE kids (p INTEGER, q INTEGER REFERENCES people(id) ON DELETE CASCADE)");
    expect(&second, with_kids, &[(Blocks, "by (q) ON DELETE CASCADE"), (Note, "CREATE INDEX kids_parent ON kids (p)")]).await;
    let grand = format!(
        "{} ; ALTER TABLE kids ADD COLUMN kid INTEGER; CREATE UNIQUE INDEX u ON kids (kid); CREATE TABLE grand (k REFERENCES kids(kid) ON DELETE CASCADE)",
        child("")
    );
    expect(&grand, with_kids, &[(Blocks, "the table `grand` refers to `kids`")]).await;
    for (trigger, expected) in [
        ("CREATE TRIGGER t AFTER DELETE ON people BEGIN DELETE FROM people WHERE id = old.id + 1; END", true),
        ("CREATE TRIGGER \"on delete\" BEFORE UPDATE ON people BEGIN SELECT 1; END", false),
        ("CREATE TRIGGER t AFTER INSERT ON people BEGIN DELETE FROM people WHERE id = 1; END", false),
        ("create trigger t delete on PEOPLE begin select 1; end", true),
    ] {
        let expected: &[(Severity, &str)] = if expected { &[(Blocks, "`triggers: accept`")] } else { &[] };
        expect(&format!("{PLAIN} {trigger}"), PEOPLE, expected).await;
        expect(&format!("{PLAIN} {trigger}"), "  people: { table: people, key: id, events: { end: ended_on }, triggers: accept }\n", &[])
            .await;
    }
    let update = format!("{PLAIN} CREATE TRIGGER t AFTER UPDATE OF name ON people BEGIN SELECT 1; END");
    expect(
        &update,
        "  people: { table: people, key: id, events: { end: ended_on }, anonymise: { name: null } }\n",
        &[(Blocks, "`triggers: accept`")],
    )
    .await;
    let fts = format!("{PLAIN} CREATE VIRTUAL TABLE words USING fts5(name, content='people', content_rowid='id')");
    expect(&fts, PEOPLE, &[(Warning, "full-text table `words`")]).await;
}

#[tokio::test]
async fn configurations_that_cannot_be_meant_are_refused_with_their_place() {
    let db = Db::new(PLAIN).await;
    let refused = |set: &str| db.configure(set).err().unwrap_or_else(|| panic!("accepted: {set}")).join("\n");
    assert!(refused("  people: { key: id, events: { end: ended_on } }\n").contains("needs the key `table`"));
    assert!(refused("  people: { table: people, key: [], events: { end: ended_on } }\n").contains("the key column"));
    assert!(refused("  people: { table: people, key: [id, id], events: { end: ended_on } }\n").contains("stands here twice"));
    assert!(
        refused("  people: { table: people, key: id, tabel: x, events: { end: ended_on } }\n")
            .contains("unknown key `tabel`; did you mean `table`?")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: { column: e, as: unix, zone: Europe/London } } }\n")
            .contains("needs no zone")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: { column: e, zone: Europe/Londn } } }\n").contains("Europe/London")
    );
    assert!(refused("  people: { table: people, key: id, events: { end: { column: e, as: uinx } } }\n").contains("did you mean `unix`?"));
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, at-least: overwriten }\n").contains("did you mean `overwritten`?")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, triggers: ignore }\n").contains("expected `triggers: accept`")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, anonymise: { name: { sql: upper(name) } } }\n")
            .contains("`anonymised:`")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, anonymise: { id: null } }\n").contains("cannot be anonymised")
    );
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, children: [ { table: people, key: parent } ] }\n")
            .contains("own table")
    );
    assert!(refused("  people: { table: people, key: id, events: { end: e }, children: [ { table: k, key: p, children: [ { table: g, key: q } ] } ] }\n").contains("needs `id:`"));
    assert!(
        refused("  people: { table: people, key: id, events: { end: e }, children: [ { table: k, key: [p, q] } ] }\n")
            .contains("as many key columns")
    );
    assert!(db.configure("  people: { table: people, key: id, events: { end: e }, anonymise: { name: { sql: upper(name) } }, anonymised: \"name = upper(name)\" }\n").is_ok());
    assert_eq!(db.store(PEOPLE).identity(), format!("sqlite:{}", db.path().canonicalize().unwrap().display()));
}
