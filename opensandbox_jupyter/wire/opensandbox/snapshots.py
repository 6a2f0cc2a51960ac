"""Operations on snapshots and templates of the lifecycle server."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import expect
from opensandbox_jupyter.wire.opensandbox._read import read_model, to_json
from opensandbox_jupyter.wire.protocol.snapshots import SnapshotCalls

__all__ = ["Snapshots"]

_ACCEPTED = (202,)
_CREATED = (201,)


def _one(kind: str, name: str) -> str:
    return f"/{kind}/{quote(name, safe='')}"


class Snapshots(SnapshotCalls):
    """Keep, list and remove what sandboxes begin from."""

    def create_snapshot(
        self, server: Origin, sandbox_id: str, name: str | None
    ) -> Operation[models.SnapshotInfo]:
        """POST /sandboxes/{id}/snapshots; only 202 is success."""
        path = f"{_one('sandboxes', sandbox_id)}/snapshots"
        body = to_json({} if name is None else {"name": name})
        call = Call("create_snapshot", server, "POST", path, json=body)
        return read_model(call, (yield call), models.SnapshotInfo, _ACCEPTED)

    def get_snapshot(self, server: Origin, snapshot_id: str) -> Operation[models.SnapshotInfo]:
        """GET /snapshots/{id}."""
        call = Call("get_snapshot", server, "GET", _one("snapshots", snapshot_id))
        return read_model(call, (yield call), models.SnapshotInfo)

    def list_snapshots(
        self, server: Origin, which: models.SnapshotFilter
    ) -> Operation[models.PagedSnapshotInfos]:
        """GET /snapshots."""
        query = [("state", state) for state in which.states or ()]
        query += [
            (key, value)
            for key, value in (("sandboxId", which.sandbox_id), ("name", which.name))
            if value is not None
        ]
        call = Call("list_snapshots", server, "GET", "/snapshots", [*query, *_pages(which)])
        return read_model(call, (yield call), models.PagedSnapshotInfos)

    def delete_snapshot(self, server: Origin, snapshot_id: str) -> Operation[None]:
        """DELETE /snapshots/{id}."""
        call = Call("delete_snapshot", server, "DELETE", _one("snapshots", snapshot_id))
        expect(call, (yield call))

    def create_template(
        self, server: Origin, wanted: models.CreateTemplateRequest
    ) -> Operation[models.TemplateInfo]:
        """POST /templates; only 201 is success."""
        body = to_json(wanted.model_dump(by_alias=True, exclude_none=True))
        call = Call("create_template", server, "POST", "/templates", json=body)
        return read_model(call, (yield call), models.TemplateInfo, _CREATED)

    def get_template(self, server: Origin, template_id: str) -> Operation[models.TemplateInfo]:
        """GET /templates/{id}."""
        call = Call("get_template", server, "GET", _one("templates", template_id))
        return read_model(call, (yield call), models.TemplateInfo)

    def list_templates(
        self, server: Origin, which: models.TemplateFilter
    ) -> Operation[models.PagedTemplateInfos]:
        """GET /templates; the metadata filter is a query string inside the query string."""
        query = []
        if which.metadata:
            query.append(("metadata", urlencode(which.metadata, quote_via=quote)))
        call = Call("list_templates", server, "GET", "/templates", [*query, *_pages(which)])
        return read_model(call, (yield call), models.PagedTemplateInfos)

    def delete_template(self, server: Origin, template_id: str) -> Operation[None]:
        """DELETE /templates/{id}."""
        call = Call("delete_template", server, "DELETE", _one("templates", template_id))
        expect(call, (yield call))


def _pages(which: models.SnapshotFilter | models.TemplateFilter) -> list[tuple[str, str]]:
    named = (("page", "page"), ("pageSize", "page_size"))
    found = [(key, getattr(which, field)) for key, field in named]
    return [(key, str(value)) for key, value in found if value is not None]
