package agent

import "sync"

// FirstError keeps the first failure until it is taken.
type FirstError struct {
	lock sync.Mutex
	err  error
}

// Set does nothing for nil and for later errors.
func (f *FirstError) Set(err error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// Take returns the error and forgets it.
func (f *FirstError) Take() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	err := f.err
	f.err = nil
	return err
}
