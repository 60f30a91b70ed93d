//! A family is data: roles are described here, in a foreign crate, and kept by
//! the standard implementation like users.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store_core::body::{Format, Unknown};
use store_core::entity::{
    Common, Entity, EntityStore, EntityStoreExt, Family, Incarnation, Key, Listing, Provider,
    Tagged, Tags, TenantEntity,
};
use store_core::iam::{
    ATTACHED, INLINE, InlinePolicy, Paging, Policy, Principal, PrincipalStore, RecordEntities,
};
use store_core::tenants::{Quotas, Tenant, TenantPath, Tenants};
use store_core::{Collection, ErrorKind, Result, Store, Timestamp};
use store_memory::MemoryStore;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Role {
    format: Format<1>,
    tenant_id: TenantPath,
    role_name: String,
    role_id: String,
    arn: String,
    path: String,
    create_date: Timestamp,
    assume_role_policy_document: String,
    tags: Tags,
    wami_arn: String,
    providers: Vec<Provider>,
    incarnation: Incarnation,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Role {
    fn new(name: &str) -> Self {
        Self {
            format: Format,
            tenant_id: TenantPath::root(1),
            role_name: name.into(),
            role_id: String::new(),
            arn: String::new(),
            path: "/".into(),
            create_date: Timestamp::EPOCH,
            assume_role_policy_document: "{}".into(),
            tags: Tags::new(),
            wami_arn: String::new(),
            providers: Vec::new(),
            incarnation: Incarnation::NONE,
            unknown: Unknown::new(),
        }
    }
}

impl Entity for Role {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = ();

    fn key(&self) -> Key<Self> {
        Key::new(&self.tenant_id, &self.role_name)
    }
}

impl TenantEntity for Role {
    const FAMILY: Family = Family {
        kind: "role",
        collection: Collection::new("iam_roles"),
        id_prefix: "AROA",
        quota: |quotas| quotas.max_roles,
        dependants: &[ATTACHED, INLINE],
    };

    fn tenant_id(&self) -> &TenantPath {
        &self.tenant_id
    }

    fn name(&self) -> &str {
        &self.role_name
    }

    fn id(&self) -> &str {
        &self.role_id
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn common(&mut self) -> Common<'_> {
        Common {
            tenant_id: &mut self.tenant_id,
            name: &mut self.role_name,
            id: &mut self.role_id,
            path: &mut self.path,
            incarnation: &mut self.incarnation,
            arn: &mut self.arn,
            wami_arn: &mut self.wami_arn,
            providers: &mut self.providers,
            create_date: &mut self.create_date,
            tags: &mut self.tags,
        }
    }
}

impl Principal for Role {}

impl Tagged for Role {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }
}

async fn store(quotas: Quotas) -> Result<RecordEntities> {
    let store = Store::from(MemoryStore::builder().strict(true).build());
    let tenant = Tenant::new(&TenantPath::root(1), "one").with_quotas(quotas);
    Tenants::new(&store).create(tenant).await?;
    Ok(RecordEntities::new(Arc::clone(store.records())))
}

fn key(name: &str) -> Key<Role> {
    Key::new(&TenantPath::root(1), name)
}

#[tokio::test]
async fn a_family_that_was_only_described_keeps_every_promise() -> Result<()> {
    let entities = store(Quotas::default()).await?;
    let tenant = TenantPath::root(1);
    let policy = entities.create(Policy::new(&tenant, "read", "{}")).await?;
    let role = entities.create(Role::new("auditor")).await?;
    assert!(role.role_id.starts_with("AROA"));
    assert_eq!(role.arn, "arn:wami:iam:1:role/auditor");
    let again = entities.create(Role::new("auditor")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);

    entities.attach(&key("auditor"), &policy.arn).await?;
    entities
        .put_inline(&key("auditor"), InlinePolicy::new("own", "{}"))
        .await?;
    let tags = Tags::from([("team".into(), "audit".into())]);
    EntityStoreExt::<Role>::tag(&entities, &key("auditor"), tags.clone()).await?;
    entities.rename(&key("auditor"), "inspector").await?;
    let inspector = key("inspector");
    assert_eq!(
        EntityStoreExt::<Role>::tags(&entities, &inspector).await?,
        tags
    );
    assert_eq!(
        entities
            .attached(&inspector, &Paging::new())
            .await?
            .items
            .len(),
        1
    );
    let listed = EntityStore::<Role>::list(&entities, &tenant, &Listing::new()).await?;
    assert_eq!(listed.items.len(), 1);

    EntityStore::<Role>::delete(&entities, &inspector).await?;
    entities.create(Role::new("inspector")).await?;
    assert!(
        entities
            .attached(&inspector, &Paging::new())
            .await?
            .items
            .is_empty()
    );
    assert!(entities.get_inline(&inspector, "own").await?.is_none());
    EntityStore::<Policy>::delete(&entities, &Key::new(&tenant, "read")).await
}

#[tokio::test]
async fn a_described_family_is_bounded_by_its_quota() -> Result<()> {
    let mut quotas = Quotas::default();
    quotas.max_roles = Some(1);
    let entities = store(quotas).await?;
    entities.create(Role::new("one")).await?;
    let two = entities.create(Role::new("two")).await.unwrap_err();
    assert_eq!(two.kind(), ErrorKind::LimitExceeded);
    EntityStore::<Role>::delete(&entities, &key("one")).await?;
    entities.create(Role::new("two")).await.map(drop)
}
