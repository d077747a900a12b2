package flight

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAHundredCallsCostTwoLoads(t *testing.T) {
	f := New[int]()
	var loads atomic.Int32
	running, release := make(chan struct{}), make(chan struct{})
	load := func(context.Context) (int, error) {
		if loads.Add(1) == 1 {
			close(running)
			<-release
		}
		return int(loads.Load()), nil
	}
	var wg sync.WaitGroup
	do := func() {
		defer wg.Done()
		_, err, _ := f.Do(context.Background(), load)
		require.NoError(t, err)
	}
	wg.Add(1)
	go do()
	<-running
	for range 99 {
		wg.Add(1)
		go do()
	}
	for f.Joined() < 99 {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	require.Equal(t, int32(2), loads.Load())
}

func TestResultIsOfALoadThatBeganAfterTheCall(t *testing.T) {
	f := New[int64]()
	var committed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 500 {
				mine := committed.Add(1)
				got, err, _ := f.Do(context.Background(), func(context.Context) (int64, error) { return committed.Load(), nil })
				require.NoError(t, err)
				require.GreaterOrEqual(t, got, mine)
			}
		}()
	}
	wg.Wait()
}

func TestCancelledLeaderDoesNotFailItsFollowers(t *testing.T) {
	f := New[string]()
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	blocked := func(ctx context.Context) (string, error) {
		close(running)
		<-ctx.Done()
		return "", ctx.Err()
	}
	lead := make(chan error, 1)
	go func() {
		_, err, _ := f.Do(ctx, blocked)
		lead <- err
	}()
	<-running
	follow := make(chan string, 1)
	go func() {
		v, err, _ := f.Do(context.Background(), func(context.Context) (string, error) { return "loaded", nil })
		require.NoError(t, err)
		follow <- v
	}()
	cancel()
	require.ErrorIs(t, <-lead, context.Canceled)
	require.Equal(t, "loaded", <-follow)
}

func TestWaiterLeavesWhenItsContextEnds(t *testing.T) {
	f := New[int]()
	running, release := make(chan struct{}), make(chan struct{})
	go f.Do(context.Background(), func(context.Context) (int, error) {
		close(running)
		<-release
		return 0, nil
	})
	<-running
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err, led := f.Do(ctx, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, led)
	close(release)
}

func TestErrorIsSharedAndNotKept(t *testing.T) {
	f := New[int]()
	boom := errors.New("boom")
	_, err, _ := f.Do(context.Background(), func(context.Context) (int, error) { return 0, boom })
	require.ErrorIs(t, err, boom)
	v, err, led := f.Do(context.Background(), func(context.Context) (int, error) { return 7, nil })
	require.NoError(t, err)
	require.True(t, led)
	require.Equal(t, 7, v)
}

func TestPanicInALoadFreesTheTurn(t *testing.T) {
	f := New[int]()
	require.Panics(t, func() {
		f.Do(context.Background(), func(context.Context) (int, error) { panic("driver") })
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, err, _ := f.Do(ctx, func(context.Context) (int, error) { return 1, nil })
	require.NoError(t, err)
	require.Equal(t, 1, v)
}
