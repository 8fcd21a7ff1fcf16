"""List the leads of a figure of the report.

Called by: action `pancake_list_leads`, from the CRM's screen of leads.
"""

from leads.adapters.hasura_calls import ActionCall, Answer
from leads.domain.lead_list import choose_names, read_list
from leads.runtime import Runtime


async def list_leads(runtime: Runtime, call: ActionCall) -> Answer:
    """Answer the count of the leads in `figure`, the first, and tickets made by hand. Raises BadRequest."""
    asked = read_list(call.input, runtime.clock.now())
    async with runtime.db.work_slot(of_list=True):
        params = choose_names(asked, await runtime.db.fetch_all("list_leads/list_names", {}))
        return dict(await runtime.db.fetch_one("list_leads/list_leads", params) or {})
