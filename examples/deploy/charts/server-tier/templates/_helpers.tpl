{{- /* The image of a program: (list . "NAME"). */ -}}
{{- define "kpng.image" -}}
{{- $root := first . -}}
{{ $root.Values.image.registry }}/{{ last . }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
