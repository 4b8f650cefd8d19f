//! What the account may do, as far as it decides what it is shown: a server leaves out of its own descriptions whatever an account may not
//! use.
//!
//! Only what is granted to the account itself counts. What it has by a role shows nowhere in the same way on both engines, and taking a
//! right for missing makes the checks ask for more, never for less.

use super::super::session::{Outcome, Session};
use super::super::statement::Statement;
use super::super::value::Cell;

/// The account, as the lists of privileges name it.
const GRANTEE: &str = " AND GRANTEE = CONCAT('''', SUBSTR(CURRENT_USER(), 1, \
     CHAR_LENGTH(CURRENT_USER()) - CHAR_LENGTH(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)) - 1), '''@''', \
     SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')";

/// Whether the account has a privilege for the whole server. With `partial_revokes` MySQL takes one back for single schemas and lists it all the
/// same; only what is not about schemas is believed then.
pub(super) async fn everywhere(session: &mut Session, privilege: &str) -> Outcome<bool> {
    if privilege != "PROCESS" {
        let revokes = session.rows(&Statement::new("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'")).await?;
        if revokes.iter().flatten().nth(1).and_then(Cell::text).is_some_and(|value| value != "OFF") {
            return Ok(false);
        }
    }
    let mut statement = Statement::new("SELECT count(*) FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = ");
    statement.value(&Cell::Text(privilege.into())).sql(GRANTEE);
    Ok(session.number(&statement).await? > 0)
}

/// Whether the account has a privilege for a table, or for its schema or the whole server.
pub(super) async fn on_table(session: &mut Session, privilege: &str, schema: &str, table: &str) -> Outcome<bool> {
    if everywhere(session, privilege).await? {
        return Ok(true);
    }
    let text = |text: &str| Cell::Text(text.into());
    // A grant for schemas may name several by a pattern.
    let mut statement = Statement::new("SELECT count(*) FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = ");
    statement.value(&text(privilege)).sql(GRANTEE).sql(" AND ").value(&text(schema)).sql(" LIKE TABLE_SCHEMA ESCAPE '\\'");
    if session.number(&statement).await? > 0 {
        return Ok(true);
    }
    let mut statement = Statement::new("SELECT count(*) FROM information_schema.TABLE_PRIVILEGES WHERE PRIVILEGE_TYPE = ");
    statement.value(&text(privilege)).sql(GRANTEE).sql(" AND TABLE_SCHEMA = ").value(&text(schema));
    statement.sql(" AND TABLE_NAME = ").value(&text(table));
    Ok(session.number(&statement).await? > 0)
}
