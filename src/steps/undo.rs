//! The undo stack. A step pushes its undo before its change. The stack is dropped once all steps have succeeded.

use std::pin::Pin;

use anyhow::Result;

type Action = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<()>>>>>;

/// The actions that undo what was made so far.
#[derive(Default)]
pub(crate) struct Undo {
    actions: Vec<(String, Action)>,
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.actions.iter().map(|(what, _)| what))
            .finish()
    }
}

impl Undo {
    /// Adds the action that undoes `what`.
    pub(crate) fn push<F>(&mut self, what: impl Into<String>, action: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.actions
            .push((what.into(), Box::new(move || Box::pin(action()))));
    }

    /// Undoes everything, the last first. Continues past errors and returns them.
    pub(crate) async fn run(self) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        for (what, action) in self.actions.into_iter().rev() {
            if let Err(e) = action().await {
                errors.push(e.context(format!("cannot undo {what}")));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test]
    async fn the_last_action_is_undone_first_and_errors_do_not_stop_the_rest() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut undo = Undo::default();
        for name in ["a", "b", "c"] {
            let order = Rc::clone(&order);
            undo.push(name, move || async move {
                order.borrow_mut().push(name);
                anyhow::ensure!(name != "b", "stuck");
                Ok(())
            });
        }
        let errors = undo.run().await;
        assert_eq!(*order.borrow(), ["c", "b", "a"]);
        assert_eq!(errors.len(), 1);
        assert_eq!(format!("{:#}", errors[0]), "cannot undo b: stuck");
    }
}
