# shellcheck shell=bash
# Walks docs/deployment.md, systemd, in a machine of its own. Prints a line NAME=VALUE for each thing that test_machine.py checks.
set -x

report() {
    printf '%s=%s\n' "$1" "$2"
}

# Waits up to 10 s until the server is ready.
await_ready() {
    for _ in $(seq 100); do
        (exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && grep -q '^HTTP/1.0 200' <&3) && return
        sleep 0.1
    done
    return 1
}

dpkg --install /package.deb >&2
report enabled_by_the_package "$(systemctl is-enabled agentbus)"
key=$(systemd-run --quiet --collect --pipe --wait --uid=agentbus \
    --property=StateDirectory=agentbus --property=StateDirectoryMode=0700 \
    --property=EnvironmentFile=/etc/agentbus/agentbus.env --setenv=DATA_DIR=/var/lib/agentbus \
    agentbus keys create --admin --name root | sed 's/.*"key":"\([^"]*\)".*/\1/')
report key "${key:0:3}"
systemctl enable --now agentbus >&2
await_ready
report ready "$?"
report message "$(AGENTBUS_KEY=$key agentbus send --sender ann --kind task --task t --type started >/dev/null; echo $?)"
process=$(systemctl show --property=MainPID --value agentbus)
report capabilities "$(sed -n 's/^CapBnd:\s*//p' "/proc/$process/status")"
report system_calls_filtered "$(sed -n 's/^Seccomp:\s*//p' "/proc/$process/status")"
report user "$(stat --format=%U "/proc/$process")"
report data "$(stat --format='%U %a' /var/lib/agentbus)"

dpkg --install /package.deb >&2
await_ready
report ready_after_upgrade "$?"
[[ $(systemctl show --property=MainPID --value agentbus) != "$process" ]]
report restarted_by_upgrade "$?"
report kept "$(AGENTBUS_KEY=$key agentbus history --task t | grep -c '"started"')"

# The worker finds neither NATS nor PostgreSQL: it waits for them.
cat >/etc/agentbus/worker-one.env <<'END'
PROCESSOR_EXEC=cat >/dev/null
MESSAGE_BUS=nats
NATS_URL=nats://127.0.0.1:1
DATABASE_URL=postgres://a:b@127.0.0.1:1/x
END
systemctl start agentbus-worker@one
for _ in $(seq 100); do
    journalctl --unit=agentbus-worker@one | grep -q 'waiting for PostgreSQL' && break
    sleep 0.1
done
report worker "$(systemctl is-active agentbus-worker@one)"

dpkg --purge agentbus >&2
report servers_after_purge "$(pgrep --count --exact agentbus)"
report data_after_purge "$(stat --format='%U %a' /var/lib/agentbus/agentbus.db)"
report stopped "$(journalctl --unit=agentbus | grep -c 'agentbus.service: Deactivated successfully')"
