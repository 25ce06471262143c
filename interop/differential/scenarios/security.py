"""Access control lists where no authorizer is configured."""

from interop.differential.scenarios.world import World
from pybroker.protocol.messages import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

ANY, TOPIC, GROUP, CLUSTER = 1, 2, 3, 4
LITERAL = 3
READ, ALLOW = 3, 3


def describing(world: World) -> None:
    """DescribeAcls."""

    def ask(
        version: int, kind: int = ANY, operation: int = ANY, permission: int = ANY
    ) -> DescribeAclsRequest:
        request = DescribeAclsRequest(
            resource_type_filter=kind,
            resource_name_filter=None,
            principal_filter=None,
            host_filter=None,
            operation=operation,
            permission_type=permission,
        )
        if version >= 1:
            request.pattern_type_filter = LITERAL
        return request

    world.exercise(
        29,
        lambda version: [
            ("all", ask(version)),
            ("topics", ask(version, TOPIC)),
            ("groups", ask(version, GROUP)),
        ],
        wrong=lambda version: [
            ("type 0", ask(version, 0)),
            ("type 99", ask(version, 99)),
            ("operation 0", ask(version, operation=0)),
            ("operation 99", ask(version, operation=99)),
            ("permission 0", ask(version, permission=0)),
        ],
    )


def creating(world: World) -> None:
    """CreateAcls."""

    def one(
        kind: int = TOPIC, name: str = "orders", operation: int = READ, permission: int = ALLOW
    ) -> CreateAclsRequest.AclCreation:
        return CreateAclsRequest.AclCreation(
            resource_type=kind,
            resource_name=name,
            principal="User:alice",
            host="*",
            operation=operation,
            permission_type=permission,
        )

    def ask(*creations: CreateAclsRequest.AclCreation) -> CreateAclsRequest:
        return CreateAclsRequest(creations=list(creations))

    world.exercise(
        30,
        lambda _version: [
            ("one", ask(one())),
            ("two", ask(one(), one(GROUP, "readers"))),
            ("none", ask()),
        ],
        wrong=lambda _version: [
            ("type any", ask(one(ANY))),
            ("type 99", ask(one(99))),
            ("no name", ask(one(name=""))),
            ("another cluster", ask(one(CLUSTER, "other"))),
            ("operation any", ask(one(operation=ANY))),
            ("permission any", ask(one(permission=ANY))),
            ("twice", ask(one(), one())),
        ],
    )


def deleting(world: World) -> None:
    """DeleteAcls."""

    def one(
        kind: int = TOPIC, operation: int = ANY, permission: int = ANY
    ) -> DeleteAclsRequest.DeleteAclsFilter:
        return DeleteAclsRequest.DeleteAclsFilter(
            resource_type_filter=kind,
            resource_name_filter="orders",
            principal_filter=None,
            host_filter=None,
            operation=operation,
            permission_type=permission,
        )

    def ask(*filters: DeleteAclsRequest.DeleteAclsFilter) -> DeleteAclsRequest:
        return DeleteAclsRequest(filters=list(filters))

    world.exercise(
        31,
        lambda _version: [("one", ask(one())), ("two", ask(one(), one(GROUP))), ("none", ask())],
        wrong=lambda _version: [
            ("type 0", ask(one(0))),
            ("type 99", ask(one(99))),
            ("operation 0", ask(one(operation=0))),
            ("operation 99", ask(one(operation=99))),
            ("permission 0", ask(one(permission=0))),
        ],
    )
