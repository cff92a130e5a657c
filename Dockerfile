# clb as an image: built in one stage, run in another that has no build tools and no privileges.
# How to run it, and what of this file was checked: docs/docker.md.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/clb
COPY pyproject.toml README.md LICENSE ./
COPY clb ./clb
RUN /opt/clb/bin/pip install --no-cache-dir --disable-pip-version-check .
# Compiled once here, since the user of the final stage cannot write beside the sources.
RUN /opt/clb/bin/python -m compileall -q /opt/clb/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 clb \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin clb \
    && install -d -o clb -g clb -m 0700 /var/lib/clb \
    && install -d -m 0755 /etc/clb
COPY --from=build /opt/clb /opt/clb

# By number, so that an orchestrator can see that it is not root. Port 443 needs no capability where
# net.ipv4.ip_unprivileged_port_start is 0, as Docker sets it in containers; setcap on the interpreter
# would make it refuse to start under --cap-drop ALL.
USER 10001:10001
ENV PATH=/opt/clb/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 443
VOLUME /var/lib/clb
STOPSIGNAL SIGTERM

# Workers that accept, asked over the control socket: so it holds whatever `admin` says. Another node.state_dir needs
# another --health-cmd.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "from clb.cli.node_client import NodeClient; NodeClient.of(None, None, 3).get('/readyz')"]

ENTRYPOINT ["clb"]
CMD ["serve", "--config", "/etc/clb/clb.yaml"]
