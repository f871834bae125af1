//! Everything that a process has started, whatever became of the process itself.
//!
//! Each process is started as the leader of a session of its own. What it starts stays in that session unless it makes
//! another one, and carries the process's mark in its environment and its pipe as its output unless it does away with
//! them. Descendants of what is found belong to it too. What did away with all of that and was orphaned is known only
//! to a supervisor that adopts orphans: then it is one of its children that nobody started here.

use std::collections::BTreeSet;
use std::io;

use rustix::process::Signal;

use super::cgroup::Cgroup;
use super::proc::{self, Stat};
use super::reaper::Reaper;

/// What tells the processes of one tree from all others.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// `NAME=value` in the environment of everything that belongs to it.
    pub(super) mark: Vec<u8>,
    /// Device and inode of its output.
    pub(super) output: (u64, u64),
    /// The process group of the kernel that holds it, where there is one: then nothing else needs to be known.
    pub(super) cgroup: Option<Cgroup>,
}

impl Tree {
    /// What runs of the tree. `main` is the process that was started, if it lives or has ended under our eyes: only
    /// then its session is known to be its own still, and not another one of the same number. `known` was found to be
    /// of it before, perhaps by a parent that is gone by now.
    ///
    /// # Errors
    /// It cannot be known now what runs.
    pub(super) fn members(&self, main: Option<Stat>, known: &[Stat], reaper: &Reaper) -> io::Result<Vec<Stat>> {
        if let Some(cgroup) = &self.cgroup {
            match cgroup.members() {
                Ok(pids) => {
                    let found = pids.into_iter().filter_map(|pid| Stat::read(pid).transpose());
                    return found.filter(|stat| stat.as_ref().map_or(true, |stat| !stat.is_zombie)).collect();
                }
                // Somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut all = proc::all()?;
        let me = i32::try_from(std::process::id()).unwrap_or_default();
        all.retain(|stat| stat.pid != me);
        // While anything is in a session its number is not given to another process. So if another process has the
        // number, the session is empty, and what has the number is a stranger's.
        let taken = |main: &Stat| all.iter().any(|stat| stat.pid == main.pid && stat.start != main.start);
        let session = main.filter(|main| !taken(main));
        // Asked for after the processes were listed: what is started from then on is not in the list.
        let mut found = reaper.strays(&self.mark, &all);
        for stat in &all {
            let in_session = session.is_some_and(|main| stat.session == main.pid && stat.start >= main.start);
            let is_known = || known.iter().any(|known| (known.pid, known.start) == (stat.pid, stat.start));
            if in_session || is_known() || self.is_marked(stat.pid) {
                found.insert(stat.pid);
            }
        }
        add_descendants(&mut found, &all);
        Ok(all.into_iter().filter(|stat| found.contains(&stat.pid) && !stat.is_zombie).collect())
    }

    fn is_marked(&self, pid: i32) -> bool {
        proc::was_started_with(pid, &self.mark) || proc::writes_to(pid, self.output)
    }

    /// Sends SIGKILL to all of it that can be found now.
    pub(super) fn kill(&self, members: &[Stat]) -> io::Result<()> {
        if let Some(cgroup) = &self.cgroup
            && cgroup.kill().is_ok()
        {
            return Ok(());
        }
        members.iter().map(|member| member.signal(Signal::KILL)).fold(Ok(()), Result::and)
    }
}

fn add_descendants(found: &mut BTreeSet<i32>, all: &[Stat]) {
    loop {
        let more = all.iter().filter(|stat| found.contains(&stat.parent) && !found.contains(&stat.pid));
        let more: Vec<i32> = more.map(|stat| stat.pid).collect();
        if more.is_empty() {
            return;
        }
        found.extend(more);
    }
}
