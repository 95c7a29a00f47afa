#!/bin/sh
# Creates buckets that are not there yet: buckets ENDPOINT BUCKET...
# S3_ACCESS_KEY, S3_SECRET_KEY and S3_REGION come from the environment; curl
# reads the credentials from stdin, so that they stand in no argument list.
set -eu

endpoint=$1
shift
for bucket; do
	status=$(printf 'user = "%s:%s"\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" |
		curl -sS -K - --aws-sigv4 "aws:amz:$S3_REGION:s3" --retry 5 --retry-connrefused --max-time 60 \
			-o /dev/null -w '%{http_code}' -X PUT "$endpoint/$bucket")
	case $status in
	200) echo "bucket $bucket: created" ;;
	409) echo "bucket $bucket: there" ;;
	*)
		echo "bucket $bucket: the object store answers $status" >&2
		exit 1
		;;
	esac
done
