//! Words for errors. What the server says of a statement that it did not understand, or of a right that is missing, names tables and
//! columns and is quoted; anything that comes of running one might carry a value of a record and is described by its number alone.

use sqlx::mysql::MySqlDatabaseError;

use super::super::session::{Failure, Trouble, unanswered};
use crate::error::escape;

/// Whether a statement was cut short, so that nobody knows how far it got.
pub(super) fn interrupted(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1317 | 1969 | 3024))
}

/// Whether the server takes the password for a wrong one.
pub(super) fn is_stranger(error: &sqlx::Error) -> bool {
    number(error) == Some(1045)
}

/// Whether the server did not let us in because it wants the password itself, which is told under TLS only. The driver could encrypt it with the
/// server's key instead; this program has it without.
fn wants_the_password(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Configuration(why) if why.to_string().starts_with("RSA "))
}

fn number(error: &sqlx::Error) -> Option<u16> {
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// What an error means.
pub(super) fn failure(error: &sqlx::Error) -> Failure {
    if wants_the_password(error) {
        return Failure::other(
            "the server wants to be told the password of the account (`caching_sha2_password`), and nothing is encrypted; \
             leave out `sslmode=disable`, or connect over its socket",
        );
    }
    let Some(number) = number(error) else {
        return unanswered(error);
    };
    let said = || error.as_database_error().map_or_else(String::new, |error| escape(error.message().as_bytes()));
    let (trouble, text) = match number {
        1205 | 3572 => (Trouble::Busy, "another session holds a lock".to_owned()),
        1213 | 1020 => (Trouble::Busy, "another transaction got in the way (deadlock)".into()),
        1969 | 3024 => (Trouble::Busy, "the statement took longer than is allowed".into()),
        1451 | 1217 => (Trouble::Refused, "a foreign key of another table refers to the record; name that table under `children:`".into()),
        1452 | 1216 | 1048 | 1062 | 1169 | 1364 | 1586 | 3819 | 4025 => (Trouble::Refused, "a constraint of the database refused".into()),
        1644..=1646 => (Trouble::Refused, "a trigger or function of the database refused".into()),
        1665 => (
            Trouble::Other,
            "the server's binary log holds statements (`binlog_format = STATEMENT`), with which it does not delete rows that were locked \
             one by one; set `binlog_format = ROW` or MIXED"
                .into(),
        ),
        1290 | 1836 | 1792 => (Trouble::Other, "the server is read-only (a replica, or set so)".into()),
        3 | 1021 | 1026 | 1114 => (Trouble::Other, "the server's disk is full".into()),
        1044 | 1045 | 1129 | 1130 | 1251 | 1396 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => {
            (Trouble::Other, format!("the server did not let us in: {}", said()))
        }
        1142 | 1143 | 1227 | 1370 => (Trouble::Other, format!("the account lacks a privilege: {}", said())),
        1040 | 1041 | 1203 | 1226 => (Trouble::Gone, "the server takes no more connections".into()),
        1053 | 1077 | 1079 | 1080 | 1152..=1161 | 1184 | 1927 | 2006 | 2013 | 2055 | 3169 | 4031 => {
            (Trouble::Gone, "the server ended the connection".into())
        }
        // Syntax, unknown or ambiguous names, functions, collations; these say nothing of a row.
        1046 | 1049 | 1052 | 1054 | 1060 | 1064 | 1109 | 1111 | 1115 | 1128 | 1140 | 1146 | 1149 | 1193 | 1235 | 1241 | 1242 | 1267
        | 1270 | 1271 | 1305 | 1318 | 1582 | 1583 | 1584 | 1630 => {
            (Trouble::Other, format!("the server does not accept the statement: {}", said()))
        }
        number => (Trouble::Other, format!("MySQL error {number}")),
    };
    Failure { trouble, text }
}
