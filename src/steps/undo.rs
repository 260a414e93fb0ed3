//! Undo: pushed in the line after the acquisition, forgotten on the last line.

use std::pin::Pin;

use anyhow::Result;

type Action = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<()>>>>>;

/// What has been made so far, with how to take it back.
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
    /// Adds how to take back `what`.
    pub(crate) fn push<F>(&mut self, what: impl Into<String>, action: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.actions
            .push((what.into(), Box::new(move || Box::pin(action()))));
    }

    /// Takes everything back, the last first; goes on past errors and returns them.
    pub(crate) async fn run(self) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        for (what, action) in self.actions.into_iter().rev() {
            if let Err(e) = action().await {
                errors.push(e.context(format!("failed to take back {what}")));
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
    async fn takes_back_the_last_first_and_goes_on_past_errors() {
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
        assert_eq!(format!("{:#}", errors[0]), "failed to take back b: stuck");
    }
}
