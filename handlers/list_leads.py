"""List the leads of a figure of the report.

Called by: action `pancake_list_leads`, from the CRM's screen of leads.
"""

from leads.adapters.hasura_calls import ActionCall, Answer
from leads.domain.lead_list import read_list
from leads.runtime import Runtime


async def list_leads(runtime: Runtime, call: ActionCall) -> Answer:
    """Answer how many leads count in `figure`, the first of them, and the tickets made by hand.

    Raises BadRequest.
    """
    params = read_list(call.input, runtime.clock.now())
    return dict(await runtime.db.fetch_one("list_leads/list_leads", params) or {})
