// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package winservice

import (
	"bytes"
	"strings"
)

// An events is an event log.
type events interface {
	Info(id uint32, text string) error
	Warning(id uint32, text string) error
	Error(id uint32, text string) error
	Close() error
}

// eventID is the number of all events: the text has the rest.
const eventID = 1

// maxEvent is the maximum size of an event in bytes; Windows has 31,839 characters.
const maxEvent = 30000

// An EventLog is an io.Writer whose lines become events of the system. Lines of package log/slog, as
// text or JSON, have their level. Each call of Write must contain whole lines.
type EventLog struct{ events events }

// Write writes an event for each line of p.
func (l *EventLog) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		if err := l.write(text); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (l *EventLog) write(text string) error {
	if len(text) > maxEvent {
		text = strings.ToValidUTF8(text[:maxEvent], "")
	}
	switch {
	case hasLevel(text, "ERROR"):
		return l.events.Error(eventID, text)
	case hasLevel(text, "WARN"):
		return l.events.Warning(eventID, text)
	default:
		return l.events.Info(eventID, text)
	}
}

// Close closes the event log.
func (l *EventLog) Close() error { return l.events.Close() }

// hasLevel reports whether a line of package log/slog has a level. The level precedes the message, so
// that a message cannot imitate it.
func hasLevel(text, level string) bool {
	at := max(strings.Index(text, "level="), strings.Index(text, `"level":"`))
	message := max(strings.Index(text, "msg="), strings.Index(text, `"msg":"`))
	if at < 0 || message >= 0 && message < at {
		return false
	}
	value := strings.TrimPrefix(strings.TrimPrefix(text[at:], "level="), `"level":"`)
	return strings.HasPrefix(value, level)
}
