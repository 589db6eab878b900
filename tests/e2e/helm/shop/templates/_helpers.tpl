{{- define "shop.pod" -}}
restartPolicy: Never
containers:
  - name: batch
    image: batch:v1
    volumeMounts: [{name: config, mountPath: /config}]
volumes:
  - name: config
    configMap: {name: {{ . }}}
{{- end }}
