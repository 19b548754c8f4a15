//go:build !linux

package conntrack

import "errors"

func openKernel() (kernel, error) {
	return nil, errors.New("only Linux tracks connections the way this package knows")
}
