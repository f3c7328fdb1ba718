//! Giving a running queue another socket, or taking it away.
//!
//! Control's side keeps a [`Keeper`], the queue on its worker a [`Slot`]. What the keeper gives, the slot picks up at its next
//! look, which costs one read of a line that is hardly ever written. The old one goes back and is closed on control's thread: closing a
//! socket with mapped rings takes the kernel milliseconds that no worker has.
//!
//! Limits: four changes may be under way; a further one is refused until the worker has looked.

use sync::ring::{Consumer, Producer, ring};

/// Changes that may be under way.
const CHANGES: usize = 4;

/// The queue's side.
#[derive(Debug)]
pub struct Slot<T: Send> {
    current: Option<T>,
    news: Consumer<Option<T>>,
    back: Producer<T>,
}

/// Control's side.
#[derive(Debug)]
pub struct Keeper<T: Send> {
    to: Producer<Option<T>>,
    from: Consumer<T>,
}

/// A slot with `first` in it, and its keeper.
pub fn slot<T: Send>(first: Option<T>) -> (Keeper<T>, Slot<T>) {
    let (to, news) = ring(CHANGES);
    // Every change gives back one at most, and the first has one more.
    let (back, from) = ring(CHANGES * 2);
    (Keeper { to, from }, Slot { current: first, news, back })
}

impl<T: Send> Slot<T> {
    /// What there is to work with now.
    #[inline]
    pub fn get(&mut self) -> Option<&mut T> {
        if self.news.available(1) > 0 {
            self.exchange();
        }
        self.current.as_mut()
    }

    /// As [`get`](Self::get), without looking for news.
    pub fn peek(&self) -> Option<&T> {
        self.current.as_ref()
    }

    #[cold]
    fn exchange(&mut self) {
        while let Some(new) = self.news.pop() {
            if let Some(old) = std::mem::replace(&mut self.current, new) {
                // If control does not collect, it is closed here after all: slow, not wrong.
                drop(self.back.push(old));
            }
        }
    }
}

impl<T: Send> Keeper<T> {
    /// Gives the queue another one, or `None`. Comes back if too many changes are under way.
    ///
    /// # Errors
    /// What was to be given.
    pub fn give(&mut self, new: Option<T>) -> Result<(), Option<T>> {
        self.to.push(new)
    }

    /// Closes what the queue has given back. Returns how many.
    pub fn collect(&mut self) -> usize {
        let mut count = 0;
        while let Some(old) = self.from.pop() {
            drop(old);
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_given_is_used_and_what_was_used_comes_back() {
        let thing = Arc::new(());
        let (mut keeper, mut slot) = slot(Some((1, Arc::clone(&thing))));
        assert_eq!(slot.get().map(|got| got.0), Some(1));
        assert!(keeper.give(Some((2, Arc::clone(&thing)))).is_ok());
        assert_eq!(slot.peek().map(|got| got.0), Some(1), "not before it looks");
        assert_eq!(slot.get().map(|got| got.0), Some(2));
        assert_eq!(Arc::strong_count(&thing), 3, "the worker closes nothing");
        assert_eq!((keeper.collect(), Arc::strong_count(&thing)), (1, 2));
        assert!(keeper.give(None).is_ok());
        assert!(slot.get().is_none());
        assert_eq!((keeper.collect(), Arc::strong_count(&thing)), (1, 1));
    }

    #[test]
    fn too_many_changes_are_refused_and_none_is_lost() {
        let thing = Arc::new(());
        let (mut keeper, mut slot) = slot(None);
        let given = (0..100).take_while(|_| keeper.give(Some(Arc::clone(&thing))).is_ok()).count();
        assert_eq!(given, CHANGES);
        assert!(slot.get().is_some());
        keeper.collect();
        assert_eq!(Arc::strong_count(&thing), 2);
    }
}
