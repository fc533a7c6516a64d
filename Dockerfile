FROM python:3.11.13-slim-bookworm AS build
WORKDIR /source
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
# Of the extras the Kafka client alone, in the version that the tests have.
RUN sed -e '/^ *--hash/d' -e 's/ \\$//' requirements-dev.lock > pinned.txt \
 && /venv/bin/pip install --no-cache-dir -c pinned.txt "aiokafka[lz4]"
COPY . .
RUN /venv/bin/pip install --no-cache-dir --no-build-isolation --no-deps . \
 && cd / && /venv/bin/python -m services.features.kernel \
 && /venv/bin/python -c "import services.models.trees"
# What libraries test themselves with is a tenth of the image.
RUN find /venv -type d -name tests -prune -exec rm -r {} +

FROM python:3.11.13-slim-bookworm
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home alphapulse \
 && install -d -o alphapulse /state
COPY --from=build /venv /venv
# numba reads what it compiled above only from folders that it may write to.
RUN cd /venv/lib/python3.11/site-packages/services \
 && chown alphapulse features/__pycache__ models/__pycache__
ENV PATH=/venv/bin:$PATH \
    ALPHAPULSE_STATE=/state \
    OPENBLAS_NUM_THREADS=1
USER alphapulse
WORKDIR /state
VOLUME /state
EXPOSE 8000
ENTRYPOINT ["alphapulse"]
CMD ["run"]
