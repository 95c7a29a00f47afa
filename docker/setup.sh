#!/bin/sh
# Makes docker/.env and docker/secrets/ where they are missing; what is there
# stays as it is. Run it once, then: docker compose -f docker/compose.yaml up -d
#
# The files of secrets/ are readable by everybody, because the containers' users
# are not yours; the folder is not, so nobody on this machine gets to them.
set -eu
umask 077
cd "$(dirname "$0")"

random() { openssl rand -hex 32; }

if [ ! -e .env ]; then
	# Every NAME=change-me gets a value of its own.
	while IFS= read -r line; do
		case $line in
		*=change-me) printf '%s=%s\n' "${line%%=*}" "$(random)" ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <.env.example >.env.new
	mv .env.new .env
	echo "docker/.env: made"
fi

mkdir -p secrets
for name in kek_1 key_token_secret api_key webhook_secret; do
	if [ ! -e "secrets/$name" ]; then
		case $name in
		webhook_secret) echo "whsec_$(openssl rand -base64 32)" ;;
		*) random ;;
		esac >"secrets/$name.new"
		chmod 444 "secrets/$name.new"
		mv "secrets/$name.new" "secrets/$name"
		echo "docker/secrets/$name: made"
	fi
done
echo "Keep a copy of docker/secrets/kek_1 in a safe place: without it no content key opens again."
