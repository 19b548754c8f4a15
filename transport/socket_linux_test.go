package transport

import (
	"fmt"
	"os"
)

func ownIdentity(node string) Identity {
	return Identity{Name: fmt.Sprintf("unix:uid:%d", os.Getuid()), Groups: []string{fmt.Sprintf("unix:gid:%d", os.Getgid())}, Node: node}
}
