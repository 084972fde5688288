//! `ALTER TABLE` statements, parsed: which actions they hold, where the table's name stands, what fills a
//! retyped column.
//!
//! The only module that knows the parser. An allow-list decides: an action that is not on it becomes a refusal
//! that names it. What an action *does* is never worked out here but asked of the server, on an empty clone;
//! this module only has to find the table's name (replaced by its place in the syntax tree, never by a text
//! search) and the parts that the transform is made of.

use std::ops::Range;

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;
use squawk_syntax::ast::{self, AlterColumnOption, AlterTableAction, AstNode, NameLike};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use super::name::TypedName;

/// What the user wants done to one table, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The statements, each one `ALTER TABLE`.
    pub statements: Vec<AlterStatement>,
    /// Actions in them that are not served.
    pub refusals: Vec<Refusal>,
}

/// One `ALTER TABLE` statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterStatement {
    text: String,
    typed_from: usize,
    table: Range<usize>,
    named: TypedName,
    /// Its actions, in order.
    pub actions: Vec<Action>,
}

/// One action of a statement, as far as the transform needs to know it. Names as the catalogs hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `ADD COLUMN`
    AddColumn {
        /// The new column.
        name: String,
    },
    /// `DROP COLUMN`
    DropColumn {
        /// The column.
        name: String,
    },
    /// `ALTER COLUMN … TYPE`
    Retype {
        /// The column, as it is called when the statement runs.
        column: String,
        /// The text after `USING`.
        using: Option<Using>,
    },
    /// Any other `ALTER COLUMN`: defaults, `NOT NULL`, identity, storage, statistics.
    AlterColumn {
        /// The column.
        column: String,
    },
    /// `RENAME COLUMN`
    RenameColumn {
        /// Its name before.
        from: String,
        /// Its name afterwards.
        to: String,
    },
    /// `ADD CONSTRAINT`, with or without a name.
    AddConstraint {
        /// The kind, in SQL's words: `CHECK`.
        kind: &'static str,
    },
    /// `DROP CONSTRAINT`, `RENAME CONSTRAINT`, storage parameters, `CLUSTER ON`.
    Other,
}

/// The expression of a `USING`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Using {
    /// The text.
    pub sql: String,
    /// It contains a `SELECT`, which the server will refuse.
    pub has_subquery: bool,
}

/// A text that is no `ALTER TABLE` of that table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// The text is not SQL.
    #[error("parse the change: {message}\n{}", caret(text, *offset))]
    Syntax {
        /// What the parser says.
        message: String,
        /// The text as typed.
        text: String,
        /// Where in it, in bytes.
        offset: usize,
    },
    /// Another kind of statement.
    #[error("use `{excerpt}` as a change: only ALTER TABLE is understood")]
    NotAlterTable {
        /// How the statement begins.
        excerpt: String,
    },
    /// Another table.
    #[error("use a statement on {found} in a change of {expected}: one change, one table")]
    OtherTable {
        /// The table of the change.
        expected: TypedName,
        /// The table of the statement.
        found: TypedName,
    },
    /// Nothing to do: no text, nothing but comments, or no action.
    #[error("find an action to take: give at least one, such as ALTER COLUMN id TYPE bigint")]
    Empty,
}

impl Alteration {
    /// Reads the user's texts. In each the leading `ALTER TABLE name` may be left out.
    ///
    /// # Errors
    /// [`AlterError`] if a text is no `ALTER TABLE` of `table`. Actions that are merely not served are in
    /// [`Alteration::refusals`].
    pub fn parse<T: AsRef<str>>(table: &TypedName, texts: &[T]) -> Result<Alteration, AlterError> {
        let mut alteration = Alteration {
            statements: Vec::new(),
            refusals: Vec::new(),
        };
        for text in texts {
            parse_text(table, text.as_ref(), &mut alteration)?;
        }
        match alteration.statements.is_empty() {
            true => Err(AlterError::Empty),
            false => Ok(alteration),
        }
    }

    /// All actions of all statements, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.statements.iter().flat_map(|statement| &statement.actions)
    }
}

impl AlterStatement {
    /// The statement with another table's name, ready for SQL, in place of the user's.
    pub fn on(&self, table: &str) -> String {
        let (before, after) = (&self.text[..self.table.start], &self.text[self.table.end..]);
        format!("{before}{table}{after}")
    }

    /// The statement as the user typed it.
    pub fn as_typed(&self) -> &str {
        &self.text[self.typed_from..]
    }

    /// The table as the user named it.
    pub fn named(&self) -> &TypedName {
        &self.named
    }

    /// Shows where the server found a mistake: `position` counts characters from 1 in the text that
    /// [`AlterStatement::on`] made with `table`.
    pub fn show_position(&self, table: &str, position: usize) -> String {
        let sent = self.on(table);
        let offset = sent.char_indices().nth(position.saturating_sub(1));
        let offset = offset.map_or(sent.len(), |(offset, _)| offset);
        let own = if offset >= self.table.start + table.len() {
            offset - table.len() + self.table.len()
        } else {
            offset.min(self.table.start)
        };
        caret(self.as_typed(), own.saturating_sub(self.typed_from))
    }
}

fn parse_text(table: &TypedName, text: &str, into: &mut Alteration) -> Result<(), AlterError> {
    let prefix = match is_whole(text) {
        true => String::new(),
        false => format!("ALTER TABLE {} ", table.quoted()),
    };
    let whole = format!("{prefix}{text}");
    let file = SourceFile::parse(&whole);
    if let Some(error) = file.errors().first() {
        return Err(AlterError::Syntax {
            message: error.message().to_owned(),
            text: text.to_owned(),
            offset: usize::from(error.range().start()).saturating_sub(prefix.len()),
        });
    }
    for (position, statement) in file.tree().stmts().enumerate() {
        let typed_from = if position == 0 { prefix.len() } else { 0 };
        let statement = parse_statement(table, &statement, typed_from, &mut into.refusals)?;
        into.statements.push(statement);
    }
    Ok(())
}

/// Whether the text is a statement of its own, good or bad, and not the actions alone.
fn is_whole(text: &str) -> bool {
    let file = SourceFile::parse(text);
    let mut words = file
        .syntax_node()
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| !token.kind().is_trivia())
        .map(|token| token.kind());
    let is_alter_table =
        (words.next(), words.next()) == (Some(SyntaxKind::ALTER_KW), Some(SyntaxKind::TABLE_KW));
    is_alter_table || (file.errors().is_empty() && file.tree().stmts().next().is_some())
}

fn parse_statement(
    table: &TypedName,
    statement: &ast::Stmt,
    typed_from: usize,
    refusals: &mut Vec<Refusal>,
) -> Result<AlterStatement, AlterError> {
    let not_alter_table = || AlterError::NotAlterTable {
        excerpt: excerpt(statement.syntax()),
    };
    let ast::Stmt::AlterTable(alter) = statement else {
        return Err(not_alter_table());
    };
    let name = alter.table_relation_name().ok_or_else(not_alter_table)?;
    let named = table_name(&name).ok_or_else(not_alter_table)?;
    if !named.may_be(table) {
        return Err(AlterError::OtherTable {
            expected: table.clone(),
            found: named,
        });
    }
    let mut actions = Vec::new();
    for action in alter.actions() {
        match served(&action) {
            Some(action) => actions.push(action),
            None => refusals.push(not_supported(action.syntax())),
        }
    }
    if actions.is_empty() && refusals.is_empty() {
        return Err(AlterError::Empty);
    }
    let start = alter.syntax().text_range().start();
    let mut text = alter.syntax().text().to_string();
    if let Some(semicolon) = alter.semicolon_token() {
        text.truncate((semicolon.text_range().start() - start).into());
    }
    let range = name.syntax().text_range() - start;
    Ok(AlterStatement {
        text,
        typed_from,
        table: range.into(),
        named,
        actions,
    })
}

fn table_name(name: &ast::TableRelationName) -> Option<TypedName> {
    let path = name.table_name_ref()?.path_ref()?;
    let schema = match path.qualifier() {
        Some(qualifier) if qualifier.qualifier().is_some() => return None,
        Some(qualifier) => Some(qualifier.segment()?.text()),
        None => None,
    };
    Some(TypedName {
        schema,
        name: path.segment()?.text(),
    })
}

/// The allow-list.
fn served(action: &AlterTableAction) -> Option<Action> {
    match action {
        AlterTableAction::AddColumn(add) => Some(Action::AddColumn {
            name: add.column_name()?.text(),
        })
        .filter(|_| {
            !add.constraints()
                .any(|constraint| constraint_kind(&constraint) == Some(FOREIGN_KEY))
        }),
        AlterTableAction::DropColumn(drop) => Some(Action::DropColumn {
            name: drop.column_name_ref()?.text(),
        })
        .filter(|_| !cascades(drop.drop_behavior())),
        AlterTableAction::AlterColumn(alter) => alter_column(alter),
        AlterTableAction::RenameColumn(rename) => Some(Action::RenameColumn {
            from: rename.column_name_ref()?.text(),
            to: rename.column_name()?.text(),
        }),
        AlterTableAction::AddConstraint(add) => constraint_kind(&add.constraint()?)
            .filter(|kind| *kind != FOREIGN_KEY)
            .map(|kind| Action::AddConstraint { kind }),
        AlterTableAction::DropConstraint(drop) => {
            Some(Action::Other).filter(|_| !cascades(drop.drop_behavior()))
        }
        AlterTableAction::RenameConstraint(_)
        | AlterTableAction::SetOptions(_)
        | AlterTableAction::ResetOptions(_)
        | AlterTableAction::ClusterOn(_)
        | AlterTableAction::SetWithoutCluster(_) => Some(Action::Other),
        _ => None,
    }
}

fn cascades(behavior: Option<ast::DropBehavior>) -> bool {
    matches!(behavior, Some(ast::DropBehavior::Cascade(_)))
}

fn alter_column(alter: &ast::AlterColumn) -> Option<Action> {
    let column = alter.column_name_ref()?.text();
    match alter.option()? {
        AlterColumnOption::SetType(retype) => Some(Action::Retype {
            column,
            using: retype.using_expr().and_then(|using| using_text(&using)),
        }),
        // The cutover carries the sequence's value over; a new one would be lost in that.
        option if restarts(option.syntax()) => None,
        AlterColumnOption::AddGenerated(_)
        | AlterColumnOption::DropDefault(_)
        | AlterColumnOption::DropExpression(_)
        | AlterColumnOption::DropIdentity(_)
        | AlterColumnOption::DropNotNull(_)
        | AlterColumnOption::ResetOptions(_)
        | AlterColumnOption::SetCompression(_)
        | AlterColumnOption::SetDefault(_)
        | AlterColumnOption::SetGenerated(_)
        | AlterColumnOption::SetSequenceOption(_)
        | AlterColumnOption::SetGeneratedOptions(_)
        | AlterColumnOption::SetNotNull(_)
        | AlterColumnOption::SetOptions(_)
        | AlterColumnOption::SetStatistics(_)
        | AlterColumnOption::SetStorage(_) => Some(Action::AlterColumn { column }),
        _ => None,
    }
}

fn restarts(option: &SyntaxNode) -> bool {
    option
        .descendants_with_tokens()
        .any(|element| element.kind() == SyntaxKind::RESTART_KW)
}

fn using_text(using: &ast::UsingExpr) -> Option<Using> {
    let expression = using.expr()?;
    let is_select = |node: SyntaxNode| ast::SelectVariant::can_cast(node.kind());
    Some(Using {
        sql: expression.syntax().text().to_string(),
        has_subquery: expression.syntax().descendants().any(is_select),
    })
}

/// Not served: even the probe would lock the table that it refers to.
const FOREIGN_KEY: &str = "FOREIGN KEY";

fn constraint_kind(constraint: &ast::Constraint) -> Option<&'static str> {
    match constraint {
        ast::Constraint::CheckConstraint(_) => Some("CHECK"),
        ast::Constraint::ExcludeConstraint(_) => Some("EXCLUDE"),
        ast::Constraint::ForeignKeyConstraint(_) | ast::Constraint::ReferencesConstraint(_) => {
            Some(FOREIGN_KEY)
        }
        ast::Constraint::PrimaryKeyConstraint(_) => Some("PRIMARY KEY"),
        ast::Constraint::UniqueConstraint(_) => Some("UNIQUE"),
        _ => None,
    }
}

fn not_supported(action: &SyntaxNode) -> Refusal {
    let object = excerpt(action);
    let remedy = match action.kind() {
        SyntaxKind::DROP_COLUMN | SyntaxKind::DROP_CONSTRAINT => {
            "Drop what depends on it yourself first, then plan without CASCADE."
        }
        SyntaxKind::ADD_COLUMN | SyntaxKind::ADD_CONSTRAINT => {
            "Add the foreign key after the swap with `ADD CONSTRAINT … NOT VALID`, then run `VALIDATE \
             CONSTRAINT`: neither rewrites anything."
        }
        SyntaxKind::SET_TABLESPACE
        | SyntaxKind::SET_ACCESS_METHOD
        | SyntaxKind::SET_LOGGED
        | SyntaxKind::SET_UNLOGGED => "Leave it out; moving a table's storage is not served yet.",
        _ => "Leave it out, and run it by itself before planning or after the swap: it rewrites nothing.",
    };
    Refusal {
        code: RefusalCode::AlterNotSupported,
        message: format!("`{object}` cannot be part of a change."),
        object,
        remedy: remedy.to_owned(),
    }
}

/// The beginning of a node's text, on one line.
fn excerpt(node: &SyntaxNode) -> String {
    const CHARACTERS_MAX: usize = 60;
    let text = node.text().to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The line of `text` that holds `offset`, and a caret below it.
pub(crate) fn caret(text: &str, offset: usize) -> String {
    let offset = text.floor_char_boundary(offset);
    // The parser complains where the last token ended; the eye looks for the next one.
    let rest = &text[offset..];
    let offset = match rest.trim_start() {
        "" => offset,
        next => offset + rest.len() - next.len(),
    };
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
    let margin = text[start..offset].chars().count();
    format!("  {}\n  {}^", &text[start..end], " ".repeat(margin))
}
