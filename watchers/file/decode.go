// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// An objectID identifies an object in a file set.
type objectID struct{ kind, namespace, name string }

func (id objectID) String() string { return objectName(id.kind, id.namespace, id.name) }

// An entry is an object of a file, or a document or List item without a usable object.
type entry struct {
	id       objectID // zero if unknown
	position Error    // File, Line, Document, Item and Object
	object   watchers.Object
	err      *Error // nil for a valid object, which the filter excludes if object is nil
	// guess is what the entry could contain if id is unknown; nil if it cannot contain any
	// object that is used. sum is the hash of its text.
	guess *guess
	sum   uint64
}

// contents is the result of decoding one file.
type contents struct {
	entries []entry // in the order of the file
	// notes are about parts of usable objects, such as unknown and duplicate fields.
	notes []*Error
}

// A decoder decodes files.
type decoder struct {
	converter   kubeapi.Converter
	logger      *slog.Logger
	seed        maphash.Seed
	loggedKinds map[string]bool // ignored kinds that have been logged
}

func (d *decoder) decode(name string, data []byte) contents {
	var out contents
	text, invalidLine := normalize(data)
	if invalidLine > 0 {
		out.notes = append(out.notes, &Error{File: name, Line: invalidLine, Err: errors.New("invalid UTF-8, replaced by U+FFFD")})
	}
	for _, doc := range splitDocuments(text) {
		r := reader{decoder: d, out: &out, file: name, doc: &doc}
		if doc.err != nil {
			g := guessText(doc.text)
			r.unusable(doc.text, max(doc.line, doc.errLine), "", g.object(), &g, doc.err)
			continue
		}
		r.replacedObjects()
		if string(doc.json) != "null" {
			r.value(doc.json, "", metav1.TypeMeta{})
		}
		r.addNotes("", "", nil, doc.duplicates) // those that belong to no object
	}
	return out
}

// A reader decodes the objects of one document.
type reader struct {
	decoder *decoder
	out     *contents
	file    string
	doc     *document
}

// replacedObjects adds an entry for each object of which the document has other metadata
// after it, because a separator line is missing.
func (r *reader) replacedObjects() {
	if !slices.ContainsFunc(r.doc.duplicates, func(e fieldError) bool { return e.field == metadataKey }) {
		return
	}
	for _, replaced := range r.doc.replacedObjects() {
		r.unusable(r.doc.text, replaced.line, "", replaced.object(), &replaced.guess,
			errors.New("replaced by the object that follows it in the same document; a separator line is missing"))
	}
}

// unusable adds an entry without a usable object. A guess of something that is not used
// is dropped.
func (r *reader) unusable(text []byte, line int, item, object string, g *guess, err error) {
	e := entry{guess: g, err: &Error{File: r.file, Line: line, Document: r.doc.number, Item: item, Object: object, Err: err}}
	if g != nil {
		e.sum = maphash.Bytes(r.decoder.seed, bytes.TrimSpace(text))
		if !couldBeUsed(*g) {
			e.guess = nil
		}
	}
	r.out.entries = append(r.out.entries, e)
}

// couldBeUsed reports whether a document could contain an object that is used. A kind may
// be cut off.
func couldBeUsed(g guess) bool {
	if g.list {
		return g.kind == "" || g.kind == "List" || couldBeUsed(guess{kind: strings.TrimSuffix(g.kind, "List")})
	}
	for _, t := range usedTypes() {
		if g.kind == t.Kind || g.name == "" && strings.HasPrefix(t.Kind, g.kind) {
			return true
		}
	}
	return g.kind == "" && g.name != ""
}

// An objectHeader is the part of an object that identifies it.
type objectHeader struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// value decodes an object, or the items of a List or of an array. An object without
// apiVersion and kind has those of defaultType.
func (r *reader) value(raw []byte, item string, defaultType metav1.TypeMeta) {
	if len(raw) > 0 && raw[0] == '[' {
		r.items(raw, item, defaultType)
		return
	}
	var h objectHeader
	headerErr := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h)
	if h.Kind == "" && h.APIVersion == "" {
		h.TypeMeta = defaultType
	}
	fail := func(object string, err error) {
		g := guess{kind: h.Kind, namespace: h.Metadata.Namespace, name: h.Metadata.Name}
		if h.APIVersion != "" && !usedAPIVersion(h.APIVersion) || g.kind == "" && g.name == "" {
			r.unusable(raw, r.doc.fieldLine(item), item, object, nil, err)
			return
		}
		r.unusable(raw, r.doc.fieldLine(item), item, object, &g, err)
	}
	switch into := newAPIObject(h.TypeMeta); {
	case headerErr != nil && isScalar(raw):
		r.unusable(raw, r.doc.fieldLine(item), item, "", nil, fmt.Errorf("not a Kubernetes object: %s", abbreviate(raw)))
	case headerErr != nil:
		fail("", fmt.Errorf("not a Kubernetes object: %w", headerErr))
	case h.Kind == "" || h.APIVersion == "":
		fail("", errors.New("apiVersion or kind is missing"))
	case isList(h.TypeMeta):
		r.list(raw, item, h.TypeMeta)
	case into == nil:
		r.decoder.logIgnored(r.file, h.TypeMeta)
	case h.Metadata.Name == "":
		fail(h.Kind, errors.New("metadata.name is missing"))
	default:
		r.object(raw, item, h, into)
	}
}

// object decodes an object of a type that is used.
func (r *reader) object(raw []byte, item string, h objectHeader, into any) {
	switch {
	case !namespaced(h.Kind):
		h.Metadata.Namespace = ""
	case h.Metadata.Namespace == "":
		h.Metadata.Namespace = metav1.NamespaceDefault
	}
	id := objectID{h.Kind, h.Metadata.Namespace, h.Metadata.Name}
	e := entry{id: id, position: Error{File: r.file, Line: r.doc.line, Document: r.doc.number, Item: item, Object: id.String()}}
	fieldErrors, err := r.decodeStrict(raw, item, into)
	if err == nil {
		e.object, err = r.decoder.convert(into, h.Metadata.Namespace)
	}
	if err != nil {
		failed := e.position
		failed.Line, failed.Err = r.doc.fieldLine(item), err
		e.err = &failed
	}
	r.addNotes(item, id.String(), e.object, fieldErrors)
	r.out.entries = append(r.out.entries, e)
}

// list decodes the items of a List.
func (r *reader) list(raw []byte, item string, t metav1.TypeMeta) {
	var list metav1.List
	fieldErrors, err := r.decodeStrict(raw, item, &list)
	if err != nil {
		r.unusable(raw, r.doc.fieldLine(item), item, t.Kind, &guess{kind: t.Kind, list: true}, err)
		return
	}
	// The items of a ServiceList are Services, even without apiVersion and kind.
	t.Kind = strings.TrimSuffix(t.Kind, "List")
	for i := range list.Items {
		r.value(list.Items[i].Raw, join(item, fmt.Sprintf("items[%d]", i)), t)
	}
	r.addNotes(item, t.Kind+"List", nil, fieldErrors)
}

// items decodes the items of an array, such as one that jq printed.
func (r *reader) items(raw []byte, item string, t metav1.TypeMeta) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		r.unusable(raw, r.doc.line, item, "", &guess{list: true}, err)
		return
	}
	for i := range list {
		r.value(list[i], fmt.Sprintf("%s[%d]", item, i), t)
	}
}

// decodeStrict decodes the object at the path item. An error means that no part of it can
// be used; field errors are about parts that are ignored.
func (r *reader) decodeStrict(raw []byte, item string, into any) ([]fieldError, error) {
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return nil, err
	}
	var out []fieldError
	for _, err := range strict {
		e := fieldError{line: r.doc.line, err: fmt.Errorf("%w; ignored", err)}
		if f, ok := errors.AsType[kjson.FieldError](err); ok {
			e.field = f.FieldPath()
			e.line = r.doc.fieldLine(join(item, e.field))
		}
		out = append(out, e)
	}
	return out, nil
}

// addNotes adds errors about the fields of an object to the notes of the file and to the
// Problems of the object, which may be nil. Duplicate fields of the document that are
// inside of the object are added and removed from the document.
func (r *reader) addNotes(item, object string, o watchers.Object, list []fieldError) {
	rest := r.doc.duplicates[:0]
	for _, e := range r.doc.duplicates {
		after, inside := strings.CutPrefix(e.field, item)
		if inside && item != "" && !strings.HasPrefix(after, ".") {
			inside = false
		}
		if !inside {
			rest = append(rest, e)
			continue
		}
		e.field = strings.TrimPrefix(after, ".")
		list = append(list, e)
	}
	r.doc.duplicates = rest
	problems := problemsOf(o)
	for _, e := range list {
		r.out.notes = append(r.out.notes, &Error{File: r.file, Line: e.line, Document: r.doc.number, Item: item, Object: object, Err: e.err})
		if problems != nil {
			*problems = append(*problems, watchers.Problem{Object: object, Field: e.field, Message: e.err.Error()})
		}
	}
}

// problemsOf returns the Problems of an object, or nil without an object.
func problemsOf(object watchers.Object) *[]watchers.Problem {
	switch o := object.(type) {
	case *watchers.Service:
		return &o.Problems
	case *watchers.EndpointSlice:
		return &o.Problems
	case *watchers.Node:
		return &o.Problems
	case *watchers.ServiceCIDR:
		return &o.Problems
	}
	return nil
}

// convert sets the defaults of an API object and converts it. It returns nil if the
// filter excludes the object.
func (d *decoder) convert(apiObject any, namespace string) (watchers.Object, error) {
	setDefaults(apiObject, namespace)
	if err := checkAllocated(apiObject); err != nil {
		return nil, err
	}
	object, err := d.converter.Object(apiObject)
	if invalid := (*kubeapi.InvalidObjectError)(nil); errors.As(err, &invalid) {
		// Error.Object already has the name of the object.
		return nil, errors.New(invalid.Problem.Field + ": " + invalid.Problem.Message)
	}
	return object, err
}

// usedTypes returns the types of objects that are used.
func usedTypes() []metav1.TypeMeta {
	return []metav1.TypeMeta{
		{APIVersion: "v1", Kind: "Service"},
		{APIVersion: "v1", Kind: "Node"},
		{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"},
	}
}

func usedAPIVersion(v string) bool {
	return v == "v1" || v == "discovery.k8s.io/v1" || v == "networking.k8s.io/v1"
}

func isList(t metav1.TypeMeta) bool {
	item, ok := strings.CutSuffix(t.Kind, "List")
	if !ok {
		return false
	}
	return t.APIVersion == "v1" && item == "" || newAPIObject(metav1.TypeMeta{APIVersion: t.APIVersion, Kind: item}) != nil
}

// newAPIObject returns an empty object of a type, or nil for a type that is ignored.
func newAPIObject(t metav1.TypeMeta) any {
	switch t.APIVersion + " " + t.Kind {
	case "v1 Service":
		return &corev1.Service{}
	case "v1 Node":
		return &corev1.Node{}
	case "networking.k8s.io/v1 ServiceCIDR":
		return &networkingv1.ServiceCIDR{}
	case "discovery.k8s.io/v1 EndpointSlice":
		return &discoveryv1.EndpointSlice{}
	}
	return nil
}

// logIgnored logs once that objects of a kind are ignored; as a warning if they look like
// the endpoints of Services, or like another version of a type that is used.
func (d *decoder) logIgnored(file string, t metav1.TypeMeta) {
	kind := t.APIVersion + " " + strings.TrimSuffix(t.Kind, "List")
	if d.loggedKinds[kind] {
		return
	}
	d.loggedKinds[kind] = true
	args := []any{"apiVersion", t.APIVersion, kindKey, t.Kind, "file", file}
	if used := replacement(t); used != (metav1.TypeMeta{}) {
		d.logger.Warn("Kind of object is not used, ignored; another one replaces it", append(args, "use", used.APIVersion+" "+used.Kind)...)
		return
	}
	d.logger.Info("Kind of object is not used, ignored", args...)
}

// replacement returns the used type that replaces an ignored type, or the zero type.
func replacement(t metav1.TypeMeta) metav1.TypeMeta {
	item := strings.TrimSuffix(t.Kind, "List")
	if t.APIVersion == "v1" && item == "Endpoints" {
		return usedTypes()[2]
	}
	group, _, _ := strings.Cut(t.APIVersion, "/")
	for _, used := range usedTypes() {
		usedGroup, _, grouped := strings.Cut(used.APIVersion, "/")
		if grouped && used.Kind == item && usedGroup == group {
			return used
		}
	}
	return metav1.TypeMeta{}
}

// abbreviate returns the beginning of a value, for an error.
func abbreviate(raw []byte) string {
	const limit = 60
	if len(raw) <= limit {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:limit]), "") + "..."
}
