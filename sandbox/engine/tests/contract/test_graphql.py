"""GraphQL over tracked tables: rows, mutations, permissions and refusals. Contract section 6."""

import pytest

from tests.support.hasura import Hasura, Json

DENIED = "check constraint of an insert/update permission has failed"


class Shop:
    """Customers and their orders, and what the role `buyer` may do with them."""

    def __init__(self, engine: Hasura) -> None:
        self.engine = engine
        customer = engine.table("customer", "id int PRIMARY KEY, name text UNIQUE NOT NULL, secret text")
        owner = f'customer_id int REFERENCES "{engine.schema}".customer'
        order = engine.table("order", f"id serial PRIMARY KEY, {owner}, total numeric, note jsonb")
        self.name = engine.schema
        engine.relate(order, "object", "customer", foreign_key_constraint_on="customer_id")
        back = {"table": order, "column": "customer_id"}
        engine.relate(customer, "array", "orders", foreign_key_constraint_on=back)
        mine = {"customer_id": {"_eq": "X-Hasura-Customer-Id"}}
        self.permit(
            "select", customer, columns=["id", "name"], filter={"id": {"_eq": "X-Hasura-Customer-Id"}}
        )
        self.permit("select", order, columns="*", filter=mine, limit=2, allow_aggregations=True)
        self.permit(
            "insert",
            order,
            columns=["total", "note"],
            check={"total": {"_gt": 0}},
            set={"customer_id": "x-hasura-customer-id"},
        )
        self.permit("update", order, columns=["total"], filter=mine, check={"total": {"_lt": 100}})
        self.ask(
            """mutation {
              insert_SHOP_customer(objects: [{id: 1, name: "Ann", secret: "s"}, {id: 2, name: "Bob"}]) {
                affected_rows }
              insert_SHOP_order(objects: [
                {customer_id: 1, total: "1.50"}, {customer_id: 1, total: 2}, {customer_id: 1, total: 3},
                {customer_id: 2, total: 9, note: {a: [18446744073709551617]}}]) { affected_rows } }"""
        )

    def permit(self, kind: str, table: Json, **permission: Json) -> None:
        """Create a permission of the role `buyer`."""
        args = {"table": table, "role": "buyer", "permission": permission}
        self.engine.do(f"pg_create_{kind}_permission", args)

    def ask(self, query: str, customer: int | None = None) -> Json:
        """Return the answer to admin or to a buyer; SHOP is replaced by the schema of the test."""
        headers = None if customer is None else self.engine.role("buyer", customer_id=str(customer))
        return self.engine.graphql(query.replace("SHOP", self.name), headers)

    def data(self, query: str, customer: int | None = None) -> Json:
        """Return the value of the first root field; the query must succeed."""
        answer = self.ask(query, customer)
        assert "errors" not in answer, answer
        return next(iter(answer["data"].values()))

    def refusal(self, query: str, customer: int | None = None) -> tuple[str, str, str]:
        """Return (path, code, message) without the schema's name; the query must fail."""
        answer = self.ask(query, customer)
        assert "data" not in answer, answer
        (error,) = answer["errors"]
        extensions = error["extensions"]
        texts = (extensions["path"], extensions["code"], error["message"])
        path, code, message = (text.replace(self.name, "SHOP") for text in texts)
        return path, code, message


@pytest.fixture
def shop(engine: Hasura) -> Shop:
    return Shop(engine)


def test_rows_come_with_what_belongs_to_them(shop: Shop) -> None:
    """Nested lists and objects, aggregates of related rows."""
    ann, bob = shop.data(
        """{ SHOP_customer(order_by: {id: asc}) { name
          orders(where: {total: {_gte: 2}}, order_by: {id: asc}) { total customer { name } }
          orders_aggregate { aggregate { count max { total } } } } }"""
    )
    assert ann["orders"] == [{"total": total, "customer": {"name": "Ann"}} for total in (2, 3)]
    assert ann["orders_aggregate"]["aggregate"] == {"count": 3, "max": {"total": 3}}
    assert bob["orders"] == [{"total": 9, "customer": {"name": "Bob"}}]


def test_an_upsert_updates_the_chosen_columns(shop: Shop) -> None:
    """Other columns stay; an empty list of columns changes nothing."""
    query = """mutation { insert_SHOP_customer_one(object: {id: 1, name: "Eve", secret: "new"},
      on_conflict: {constraint: customer_pkey, update_columns: %s}) { name secret } }"""
    assert shop.data(query % "[secret]") == {"name": "Ann", "secret": "new"}
    assert shop.data(query % "[]") is None


def test_a_role_sees_its_rows_and_columns_everywhere(shop: Shop) -> None:
    """By list, by key, through relationships and in aggregates, at most two at a time."""
    assert shop.data("{ SHOP_customer { name orders { id } } }", 1) == [
        {"name": "Ann", "orders": [{"id": 1}, {"id": 2}]}
    ]
    assert shop.data("{ SHOP_order_by_pk(id: 4) { id } }", 1) is None
    assert shop.data("{ SHOP_order_aggregate { aggregate { count } nodes { id } } }", 1) == {
        "aggregate": {"count": 3},
        "nodes": [{"id": 1}, {"id": 2}],
    }
    assert shop.refusal("{ SHOP_customer { secret } }", 1) == (
        "$.selectionSet.SHOP_customer.selectionSet.secret",
        "validation-failed",
        "field 'secret' not found in type: 'SHOP_customer'",
    )


def test_presets_and_checks_bind_what_a_role_writes(shop: Shop) -> None:
    """The preset fills the owner; checks hold after insert and after update."""
    insert = "mutation { insert_SHOP_order(objects: [{total: %d}]) { returning { customer_id total } } }"
    assert shop.data(insert % 7, 2) == {"returning": [{"customer_id": 2, "total": 7}]}
    path = "$.selectionSet.insert_SHOP_order.args.objects"
    assert shop.refusal(insert % 0, 2) == (path, "permission-error", DENIED)
    update = "mutation { update_SHOP_order(where: {}, _set: {total: %d}) { affected_rows } }"
    assert shop.data(update % 8, 2) == {"affected_rows": 2}
    assert shop.refusal(update % 100, 2)[1:] == ("permission-error", DENIED)
    assert shop.refusal("mutation { delete_SHOP_order(where: {}) { affected_rows } }", 2)[2] == (
        "field 'delete_SHOP_order' not found in type: 'mutation_root'"
    )


@pytest.mark.parametrize(
    ("query", "path", "code", "message"),
    [
        (
            "{ SHOP_order(where: {id: {_lik: 1}}) { id } }",
            "$.selectionSet.SHOP_order.args.where.id._lik",
            "validation-failed",
            "field '_lik' not found in type: 'Int_comparison_exp'",
        ),
        (
            "{ SHOP_order(limit: -1) { id } }",
            "$.selectionSet.SHOP_order.args.limit",
            "validation-failed",
            "expected a non-negative 32-bit integer for type 'Int', but found an integer",
        ),
        (
            "mutation { insert_SHOP_customer(objects: {id: 3, name: null}) { affected_rows } }",
            "$.selectionSet.insert_SHOP_customer.args.objects[0].name",
            "validation-failed",
            "unexpected null value for type 'String'",
        ),
        (
            'mutation { insert_SHOP_customer(objects: {id: 3, name: "Ann"}) { affected_rows } }',
            "$.selectionSet.insert_SHOP_customer.args.objects",
            "constraint-violation",
            'Uniqueness violation. duplicate key value violates unique constraint "customer_name_key"',
        ),
        (
            '{ SHOP_order(where: {id: {_eq: "one"}}) { id } }',
            "$",
            "data-exception",
            'invalid input syntax for type integer: "one"',
        ),
    ],
)
def test_a_refusal_names_path_code_and_reason(
    shop: Shop, query: str, path: str, code: str, message: str
) -> None:
    """One error, no data, status 200."""
    assert shop.refusal(query) == (path, code, message)


def test_a_failing_mutation_undoes_the_whole_request(shop: Shop) -> None:
    """All root fields of a mutation share one transaction."""
    query = """mutation { delete_SHOP_order(where: {}) { affected_rows }
      insert_SHOP_customer(objects: {id: 1, name: "x"}) { affected_rows } }"""
    assert shop.refusal(query)[1] == "constraint-violation"
    assert shop.data("{ SHOP_order_aggregate { aggregate { count } } }") == {"aggregate": {"count": 4}}
