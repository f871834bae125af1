//! What the programs of a cell write. It may hold what is not meant for whoever may look at the cell.

use std::time::Duration;

use ulid::Ulid;

use super::{AccessError, Authorized};
use crate::controller::AskedLogs;
use crate::model::CellId;
use crate::model::answer::{Answer, LogLine};
use crate::model::order::LogQuery;
use crate::model::users::Role;

impl Authorized {
    /// Asks a cell's node for it; see [`Controller::ask_for_logs`](crate::controller::Controller::ask_for_logs).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn ask_for_logs(
        &self,
        cell: &CellId,
        query: &LogQuery,
        patience: Duration,
    ) -> Result<AskedLogs, AccessError> {
        self.need_on_cell(Role::Operator, cell)?;
        Ok(self.acting().ask_for_logs(cell, query, patience).await?)
    }

    /// An order for it that was given before, whoever gave it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn asked_logs(&self, cell: &CellId, order: Ulid) -> Result<AskedLogs, AccessError> {
        self.need_on_cell(Role::Operator, cell)?;
        Ok(self.reading().asked_logs(cell, order).await?)
    }

    /// How far the node's answer has come; None before it has begun.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn log_answer(&self, asked: &AskedLogs) -> Result<Option<Answer>, AccessError> {
        self.need_on_cell(Role::Operator, &asked.cell)?;
        Ok(self.reading().log_answer(asked).await?)
    }

    /// The lines of one chunk of an answer, counted from 1.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn log_chunk(&self, asked: &AskedLogs, chunk: u32) -> Result<Vec<LogLine>, AccessError> {
        self.need_on_cell(Role::Operator, &asked.cell)?;
        Ok(self.reading().log_chunk(asked, chunk).await?)
    }

    /// Why a node may not have answered yet.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn why_no_logs(&self, asked: &AskedLogs) -> Result<String, AccessError> {
        self.need_on_cell(Role::Operator, &asked.cell)?;
        Ok(self.reading().why_no_logs(asked).await?)
    }

    /// Ends an order for it, and deletes what was answered.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn take_back_logs(&self, asked: &AskedLogs) -> Result<(), AccessError> {
        self.need_on_cell(Role::Operator, &asked.cell)?;
        Ok(self.acting().take_back_logs(asked).await?)
    }
}
