//! Alerts, as far as somebody may see what they are about.

use chrono::TimeDelta;
use ulid::Ulid;

use super::{AccessError, Authorized, Denied};
use crate::controller::{AlertBoard, ReceiverTrials, Trial};
use crate::model::CellId;
use crate::model::alert::{Alert, AlertKey, AlertSubject, Alerts, Silence, SilenceScope};
use crate::model::users::Role;

impl Authorized {
    /// Whether the user may see what an alert is about. What is said of a node as a whole may name any of its cells.
    #[must_use]
    pub fn sees_alert(&self, subject: &AlertSubject) -> bool {
        match subject {
            AlertSubject::Bucket => self.identity.may_everywhere(Role::Viewer),
            AlertSubject::Node(node) => self.identity.may_on_node(Role::Viewer, node),
            AlertSubject::Cell(cell) => self.sees(cell),
        }
    }

    /// How many alerts are open that the user may see and that nobody silenced.
    #[must_use]
    pub fn open_alerts(&self, alerts: &Alerts) -> usize {
        alerts.open.iter().filter(|alert| !alert.silenced && self.sees_alert(&alert.subject)).count()
    }

    /// Whether the user may see what a silence covers, whatever becomes of it.
    #[must_use]
    pub fn sees_silence(&self, silence: &Silence) -> bool {
        self.need_on_scope(Role::Viewer, &silence.scope).is_ok()
    }

    /// Whether the user may silence all of what `scope` covers, and end silences of it.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_silence(&self, scope: &SilenceScope) -> Result<(), Denied> {
        self.need_on_scope(Role::Operator, scope)
    }

    /// Keeps what `scope` covers from being told for so long, and shows that on `board`.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn silence(
        &self,
        board: &AlertBoard,
        scope: SilenceScope,
        reason: &str,
        time: TimeDelta,
    ) -> Result<Silence, AccessError> {
        self.check_silence(&scope)?;
        let silence = self.acting().silence_for(scope, reason, time).await?;
        self.show_alerts(board).await;
        Ok(silence)
    }

    /// Ends a silence, and shows that on `board`. None if there is none, or none that the user may see.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn end_silence(&self, board: &AlertBoard, id: Ulid) -> Result<Option<Silence>, AccessError> {
        self.need_anywhere(Role::Operator, "silences")?;
        let alerts = self.reading().alerts().await?.alerts;
        let known = alerts.silences.into_iter().find(|silence| silence.id == id && self.sees_silence(silence));
        let Some(known) = known else { return Ok(None) };
        self.check_silence(&known.scope)?;
        let ended = self.acting().end_silence(id).await?;
        self.show_alerts(board).await;
        Ok(ended)
    }

    /// Whether the user may say that somebody has seen an alert about `subject`, and take that back.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_acknowledge(&self, subject: &AlertSubject) -> Result<(), Denied> {
        match subject {
            AlertSubject::Bucket => self.need_everywhere(Role::Operator, "alerts about the bucket"),
            AlertSubject::Node(node) => self.need_on_node(Role::Operator, node),
            AlertSubject::Cell(cell) => self.need_on_cell(Role::Operator, cell),
        }
    }

    /// Notes that the user has seen an alert, and shows that on `board`. None if it is not open.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn acknowledge(
        &self,
        board: &AlertBoard,
        key: &AlertKey,
        note: &str,
    ) -> Result<Option<Alert>, AccessError> {
        self.check_acknowledge(&key.subject)?;
        let alert = self.acting().acknowledge(key, note).await?;
        self.show_alerts(board).await;
        Ok(alert)
    }

    /// Takes back that somebody has seen an alert, and shows that on `board`. None if it is not open.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn unacknowledge(&self, board: &AlertBoard, key: &AlertKey) -> Result<Option<Alert>, AccessError> {
        self.check_acknowledge(&key.subject)?;
        let alert = self.acting().unacknowledge(key).await?;
        self.show_alerts(board).await;
        Ok(alert)
    }

    /// Whether the user may send test messages: receivers stand in the config of the controller, which only admins look
    /// after.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_try_receivers(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "receivers of alerts")
    }

    /// Sends a test message to a receiver of this controller. None if there is no such receiver.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn try_receiver(&self, trials: &ReceiverTrials, name: &str) -> Result<Option<Trial>, AccessError> {
        self.check_try_receivers()?;
        Ok(self.acting().try_receiver(trials, name).await?)
    }

    /// Where they cannot be read now, the next look at the fleet shows them.
    async fn show_alerts(&self, board: &AlertBoard) {
        if let Ok(held) = self.reading().alerts().await {
            board.show(held.alerts);
        }
    }

    /// For all that a silence may cover, now or later.
    fn need_on_scope(&self, role: Role, scope: &SilenceScope) -> Result<(), Denied> {
        match (&scope.node, &scope.cell) {
            (Some(node), Some(cell)) => self.need_on_cell(role, &CellId { node: node.clone(), cell: cell.clone() }),
            (Some(node), None) => self.need_on_node(role, node),
            (None, _) => self.need_everywhere(role, "alerts of more than one node"),
        }
    }

    /// Refuses to tell whoever may not see everything of messages: they are about anything.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_alert_messages(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "messages about alerts")
    }
}
