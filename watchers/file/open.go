// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// readRegular reads a regular file and returns its metadata.
func readRegular(name string) (fs.FileInfo, []byte, error) {
	// The file may be replaced by a pipe after its mode was checked. A pipe opened without
	// O_NONBLOCK waits for a writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errNotRegular(info)
	case info.Size() > maxFile:
		err = errTooLarge
	}
	if err != nil {
		return nil, nil, err
	}
	data := make([]byte, 0, info.Size()+1)
	data, err = appendAll(data, f)
	return info, data, err
}

// appendAll is io.ReadAll into a slice that has room for the expected size.
func appendAll(data []byte, f *os.File) ([]byte, error) {
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil:
			return nil, err
		case len(data) > maxFile: // it has grown
			return nil, errTooLarge
		}
	}
}

// maxFile bounds a file, in bytes: it is in memory while its objects are decoded.
const maxFile = 256 << 20

var errTooLarge = fmt.Errorf("larger than %d MiB", maxFile>>20)

func errNotRegular(info fs.FileInfo) error {
	kind := "a device"
	switch mode := info.Mode(); {
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("%s, not a regular file", kind)
}

// readPipe reads a pipe to its end. It returns no data if ctx is done.
func readPipe(ctx context.Context, name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case ctx.Err() != nil:
		return nil, nil
	case err != nil:
		return nil, err
	case len(data) > maxFile:
		return nil, errTooLarge
	case len(data) == 0:
		// Waiting would be endless for a pipe whose writer has ended.
		return nil, errors.New("the pipe is empty: no program has it open for writing")
	}
	return data, nil
}
