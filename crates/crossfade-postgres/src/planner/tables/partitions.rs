//! The partitions of a further table: those that are named, and those of one length of time.

use crossfade_core::code::RefusalCode;
use tokio_postgres::types::ToSql;

use super::Planning;
use super::columns::Filled;
use crate::change::{NAME_BYTES_MAX, PartitioningRequest, Placed};
use crate::ident::{self, Ident};
use crate::planner::PlanError;

/// From the one of the oldest value to so many after today's. `$1` is the length, `$2` the oldest value or `NULL`, `$3`
/// the number ahead. A length of whole months begins with one, and so on; names say as much of the time as tells
/// them apart.
const RANGES: &str = "\
WITH length(span) AS (SELECT $1::text::interval),
     unit(word, form) AS (
       SELECT CASE WHEN extract(year FROM span) > 0 THEN 'year' WHEN extract(month FROM span) > 0 THEN 'month'
                   WHEN span = '7 days' THEN 'week' WHEN extract(day FROM span) > 0 THEN 'day' ELSE 'hour' END,
              CASE WHEN extract(year FROM span) > 0 THEN 'YYYY' WHEN extract(month FROM span) > 0 THEN 'YYYY_MM'
                   WHEN extract(day FROM span) > 0 THEN 'YYYY_MM_DD' ELSE 'YYYY_MM_DD_HH24' END
         FROM length),
     begins(lower) AS (
       SELECT generate_series(date_trunc(word, coalesce($2::text::timestamptz, now())), now() + $3::int * span, span)
         FROM length, unit
        LIMIT $4)
SELECT to_char(lower, form), lower::text, (lower + span)::text FROM begins, length, unit";

/// Each takes several locks of the server's, whenever the table is written to without saying which: more of them would
/// not leave enough for others.
const PARTITIONS_MAX: usize = 400;

impl Planning<'_> {
    /// Makes them below the probe.
    pub(super) async fn partitions(
        &mut self,
        request: &PartitioningRequest,
        columns: &[Filled<'_>],
    ) -> Result<(), PlanError> {
        if let Some((name, _)) = request.partitions.get(PARTITIONS_MAX) {
            self.refuse_partitions(
                name,
                format!("There would be more than {PARTITIONS_MAX} partitions."),
            );
            return Ok(());
        }
        for (name, values) in &request.partitions {
            let bound = match values.text.trim().eq_ignore_ascii_case("default") {
                true => "DEFAULT".to_owned(),
                false => format!("FOR VALUES\n{values}\n"),
            };
            self.partition(&name.text, &bound, values).await?;
        }
        let Some(every) = &request.every else {
            return Ok(());
        };
        let Some(oldest) = self.oldest(request, every, columns).await? else {
            return Ok(());
        };
        let ahead = i32::try_from(request.ahead).unwrap_or(i32::MAX);
        let most = i64::try_from(PARTITIONS_MAX + 1).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 4] = [&every.text, &oldest, &ahead, &most];
        let ranges = match self.pieces.session.query(RANGES, &parameters).await {
            Ok(ranges) if ranges.is_empty() => {
                self.refuse_partitions(every, "There would be no partition.".to_owned());
                return Ok(());
            }
            Ok(ranges) if ranges.len() + request.partitions.len() <= PARTITIONS_MAX => ranges,
            Ok(_) => {
                self.refuse_partitions(
                    every,
                    format!("There would be more than {PARTITIONS_MAX} partitions."),
                );
                return Ok(());
            }
            Err(error) if error.code().is_some_and(|code| code.code().starts_with("22")) => {
                // The transaction is broken: nothing more can be asked.
                let message = format!("The server says: {}.", error.message());
                self.refuse_partitions(every, message);
                return Err(PlanError::Refused(std::mem::take(&mut self.refusals)));
            }
            Err(error) => return Err(error.into()),
        };
        for range in ranges {
            let (when, lower, upper): (String, String, String) = (range.get(0), range.get(1), range.get(2));
            let name = format!("{}_{when}", self.place.name);
            if name.len() > NAME_BYTES_MAX {
                self.refuse_partitions(
                    every,
                    format!("The name {name} would be longer than {NAME_BYTES_MAX} bytes."),
                );
                return Ok(());
            }
            let bound = format!(
                "FOR VALUES FROM ({}) TO ({})",
                ident::literal(&lower),
                ident::literal(&upper)
            );
            self.partition(&name, &bound, every).await?;
        }
        Ok(())
    }

    async fn partition(&mut self, name: &str, bound: &str, text: &Placed) -> Result<(), PlanError> {
        let sql = format!(
            "CREATE TABLE {} PARTITION OF {} {bound}",
            ident::qualified(&self.probe.schema, name),
            ident::table(&self.probe)
        );
        if let Err(message) = self.try_as_the_user(&sql).await? {
            let object = self.object(&format!("partition {name}"), text);
            self.refuse(
                RefusalCode::PartitionNotAccepted,
                object,
                format!("The server says: {message}."),
                "Write its `values` as they follow FOR VALUES, or `DEFAULT`; ranges and lists must not overlap.",
            );
        }
        Ok(())
    }

    /// Where the first range begins: `Some(None)` of an empty table, `None` if that was refused.
    async fn oldest(
        &mut self,
        request: &PartitioningRequest,
        every: &Placed,
        columns: &[Filled<'_>],
    ) -> Result<Option<Option<String>>, PlanError> {
        if let Some(from) = &request.from {
            return Ok(Some(Some(from.text.clone())));
        }
        let by = request.by.text.trim();
        let column = columns.iter().find(|column| {
            let (name, quoted) = (
                &column.request.name.text,
                Ident(&column.request.name.text).to_string(),
            );
            let forms = [format!("range ({name})"), format!("range ({quoted})")];
            forms.iter().any(|form| form.eq_ignore_ascii_case(by))
        });
        let value = column.and_then(|column| column.value.as_ref());
        let source = value.and_then(|value| self.column_itself(value));
        let definition = &self.pieces.surroundings.definition;
        let is_first = |name: &str| {
            let mut indexes = definition
                .indexes
                .iter()
                .filter(|index| index.valid && index.predicate.is_none());
            indexes.any(|index| {
                index.definition.starts_with("btree ")
                    && index.columns.first() == Some(&Some(name.to_owned()))
            })
        };
        let Some(source) = source.filter(|name| is_first(name)) else {
            let message =
                "Where the first one begins is not found without reading the whole table.".to_owned();
            self.refuse_partitions(every, message);
            return Ok(None);
        };
        let select = format!(
            "SELECT min({})::text FROM ONLY {}",
            Ident(source),
            ident::table(&definition.name)
        );
        let row = self.pieces.session.query_one(&select, &[]).await?;
        Ok(Some(row.get(0)))
    }

    fn refuse_partitions(&mut self, every: &Placed, message: String) {
        let object = self.object("partition_every", every);
        self.refuse(
            RefusalCode::PartitionsNotMade,
            object,
            message,
            "Write a length such as `1 month`, `partition_by = \"RANGE (column)\"` of one column of time, and \
             `partitions_from` with the first moment.",
        );
    }
}
