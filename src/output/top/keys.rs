//! The keys that are typed on the full screen.

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

/// What comes from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C
    Break,
    Char(char),
    /// The window has another size.
    Resize,
}

/// The inputs, until the terminal is gone. A thread reads them, since nothing else ends a wait for a key when kvmc ends.
pub(crate) fn inputs() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(input) = input(&event)
                && sender.blocking_send(input).is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => of_key(*key),
        Event::Resize(..) => Some(Input::Resize),
        _ => None,
    }
}

fn of_key(key: KeyEvent) -> Option<Input> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Input::Break,
        KeyCode::Char('l') if is_control => Input::Resize,
        KeyCode::Char(_) if is_control => return None,
        KeyCode::Char(c) => Input::Char(c),
        KeyCode::Up => Input::Up,
        KeyCode::Down => Input::Down,
        KeyCode::PageUp => Input::PageUp,
        KeyCode::PageDown => Input::PageDown,
        KeyCode::Home => Input::Home,
        KeyCode::End => Input::End,
        KeyCode::Enter => Input::Enter,
        KeyCode::Esc => Input::Escape,
        KeyCode::Backspace => Input::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_keys_are_no_letters() {
        let key = |code, modifiers| input(&Event::Key(KeyEvent::new(code, modifiers)));
        let char = KeyCode::Char;
        assert_eq!(key(char('c'), KeyModifiers::CONTROL), Some(Input::Break));
        assert_eq!(key(char('c'), KeyModifiers::NONE), Some(Input::Char('c')));
        assert_eq!(key(char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::F(1), KeyModifiers::NONE), None);
        assert_eq!(input(&Event::Resize(1, 1)), Some(Input::Resize));
    }
}
